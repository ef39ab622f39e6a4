"""What verbs are called: kebab-case of the RPC's name, and every beginning of it, in whole words, that no other verb has."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mesh.cli.schema import Rpc

# a word begins at a capital after a small letter or digit, and at the last capital of two or more before a small letter:
# GetBudgetReportCsv, AuthorizeOAuth (one name, two words), GetHTTPRule
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z])")


def kebab(name: str) -> str:
    """The name of an RPC as people type it, e.g. "select-provider"."""
    return _WORD.sub("-", name).lower()


def of(rpcs: Sequence[Rpc]) -> dict[str, Rpc]:
    """Verb by name for the RPCs of one group; an RPC whose name another one has too is told apart by its gRPC service."""
    counts = Counter(kebab(rpc.method.name) for rpc in rpcs)
    found = {}
    for rpc in rpcs:
        name = kebab(rpc.method.name)
        if counts[name] > 1:
            name = f"{kebab(rpc.method.containing_service.name.removesuffix('Service'))}-{name}"
        found[name] = rpc
    return found


def resolve(given: str, verbs: Mapping[str, Rpc]) -> Sequence[str]:
    """The verbs that `given` may mean: the one of that name, else those that begin with its words."""
    if given in verbs:
        return [given]
    return [name for name in verbs if name.startswith(f"{given}-")]


def short(name: str, verbs: Mapping[str, Rpc]) -> str:
    """The shortest beginning of the name that means this verb alone; "" when only the whole name does."""
    words = name.split("-")
    beginnings = ("-".join(words[:count]) for count in range(1, len(words)))
    return next((each for each in beginnings if resolve(each, verbs) == [name]), "")
