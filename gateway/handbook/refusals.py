"""The page of errors: every reason with what to do, and which parts of the mesh give it."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from gateway.handbook import calls, markdown
from mesh import contracts, prose
from mesh.catalogue import SERVICES

_ENUM = "tooloo.error.v1.ErrorReason"
_PREFIX = "ERROR_REASON_"
_NAMED = re.compile(rf"\b{_PREFIX}([A-Z_]+)\b")
# the contract keeps the numbers below for every service
_FIRST_OF_A_SERVICE = 100
ROOT = Path(__file__).resolve().parents[2]
_INTRODUCTION = """# Errors

A refusal always has one form, a [google.rpc.Status](https://cloud.google.com/apis/design/errors): a code, a message that says what
to do, and details. One of the details is a `google.rpc.ErrorInfo` with a `reason` of the list below and the domain `tooloo`;
programs switch on it, never on the message. Over REST the HTTP status follows the code.

```json
{
  "code": 5,
  "message": "there is no session named '42'",
  "details": [
    {
      "@type": "type.googleapis.com/google.rpc.ErrorInfo",
      "reason": "RESOURCE_NOT_FOUND",
      "domain": "tooloo",
      "metadata": {"resource": "session/42"}
    }
  ]
}
```

Try again only what is `UNAVAILABLE`, or `RESOURCE_EXHAUSTED` with a `google.rpc.RetryInfo`, which says how long to wait; with the
same `request_id`, nothing happens twice.

"""


def page() -> str:
    """The whole page."""
    everywhere = [name for name, number in calls.REASONS.items() if number < _FIRST_OF_A_SERVICE]
    rest = [name for name in calls.REASONS if name not in everywhere]
    parts = [
        _INTRODUCTION,
        "## Every call { #every-call }\n\nEach of these may be the answer of any call; the calls of a service have more.\n\n",
        *(_reason(name) for name in everywhere),
        "\n## Of single services { #of-services }\n",
        *(_reason(name) for name in rest),
    ]
    return "".join(parts)


def _reason(name: str) -> str:
    text = markdown.prose(prose.of(f"{_ENUM}.{_PREFIX}{name}"))
    named = ", ".join(_calls(name))
    lines = [f"{markdown.heading(3, f'`{name}`', name)}\n{text}\n"]
    if given := ", ".join(givers().get(name, [])):
        lines.append(f"\nGiven by: {given}.\n")
    if named:
        lines.append(f"\nNamed by: {named}.\n")
    return "".join(lines)


def _calls(reason: str) -> Iterator[str]:
    owner = {service: spec for spec in SERVICES for service in spec.grpc_services}
    for method in contracts.methods().values():
        if reason in calls.reasons_of(method):
            yield f"[{method.name.rsplit('/', 1)[-1]}](calls/{owner[method.service].name}.md#{markdown.anchor(method.name)})"


@cache
def givers() -> dict[str, list[str]]:
    """Which parts of the mesh have a reason in their code: services by name, the bus, the door, and what all stand on."""
    rooms = {spec.name: ROOT / "services" / spec.name for spec in SERVICES if (ROOT / "services" / spec.name).is_dir()}
    rooms |= {"bus": ROOT / "bus", "the door": ROOT / "envoy", "system": ROOT / "gateway", "every service": ROOT / "mesh"}
    found: dict[str, list[str]] = {}
    for room, folder in rooms.items():
        for name in sorted({name for file in folder.rglob("*.py") for name in _NAMED.findall(file.read_text(encoding="utf-8"))}):
            found.setdefault(name, []).append(room)
    return found
