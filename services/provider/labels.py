"""Labels: what some usage is about, as names and values; a scope covers the usage that has every label of the scope."""

import json
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.json import encode
from propcache.api import cached_property

PROVIDER, MODEL, USER = "provider", "model", "user"
# these three stand in columns of the ledger, all others in a table beside it
OWN = (PROVIDER, MODEL, USER)
# what reports call stretches of time
RESERVED = frozenset({"hour", "day", "month"})
# statements that filter by labels have this many places for labels beside the three
MOST_FURTHER = 8
_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")


class LabelError(ValueError):
    """A label that cannot be used; `name` is the label's, the message says what would be right."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Labels(Struct, frozen=True, dict=True):
    """A set of labels; a label with an empty value is one that is not there."""

    pairs: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, given: Mapping[str, str] | None = None, /, **named: str) -> "Labels":
        """Labels by name, e.g. Labels.of(user="ada", team="red"); empty values are left out."""
        return cls(frozenset((name, value) for name, value in {**(given or {}), **named}.items() if value))

    @cached_property
    def values(self) -> dict[str, str]:
        """Values by name, in the order of names."""
        return dict(sorted(self.pairs))

    def get(self, name: str) -> str:
        """The value of a label; "" when it is not there."""
        return self.values.get(name, "")

    @cached_property
    def provider_id(self) -> str:
        """The label `provider`."""
        return self.values.get(PROVIDER, "")

    @cached_property
    def model(self) -> str:
        """The label `model`."""
        return self.values.get(MODEL, "")

    @cached_property
    def user_id(self) -> str:
        """The label `user`."""
        return self.values.get(USER, "")

    @cached_property
    def further(self) -> dict[str, str]:
        """Labels beside provider, model and user."""
        return {name: value for name, value in self.values.items() if name not in OWN}

    def covers(self, usage: "Labels") -> bool:
        """Whether usage with these labels has every label that is given here."""
        return self.pairs <= usage.pairs

    def plus(self, **named: str) -> "Labels":
        """The same with other values for some names."""
        kept = (pair for pair in self.pairs if pair[0] not in named)
        return Labels(frozenset((*kept, *(pair for pair in named.items() if pair[1]))))

    @cached_property
    def text(self) -> str:
        """One form for each set, in which stores keep it: ASCII."""
        text = encode(self.values).decode()
        return text if text.isascii() else _ENCODE(self.values)


EVERYTHING = Labels()


def from_text(text: str) -> Labels:
    """The labels of a text that `Labels.text` gave."""
    return Labels(frozenset(json.loads(text).items()))


def is_value(text: str, longest: int) -> bool:
    """Whether a text may be a label's value."""
    return len(text) <= longest and _VALUE.fullmatch(text) is not None


def checked(given: Mapping[str, str], *, most: int, longest: int) -> Labels:
    """The labels of a caller; LabelError for names, values or numbers that are not allowed."""
    for name, value in given.items():
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise LabelError(name, f"{name!r} is no name for a label: write a-z, 0-9 and _, none of {', '.join(sorted(RESERVED))}")
        if not is_value(value, longest):
            raise LabelError(name, f"write 1 to {longest} of A-Z a-z 0-9 . _ : / @ + -, beginning with a letter or digit")
    further = sorted(set(given) - set(OWN))
    if len(further) > most:
        raise LabelError(further[most], f"at most {most} labels beside {', '.join(OWN)} (setting max_labels)")
    return Labels.of(given)


def joined(fields: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Labels said in fields of their own and in a map, as one; LabelError where both say different things."""
    for name, value in fields.items():
        if value and given.get(name, value) != value:
            raise LabelError(name, f"the label is {given[name]!r}, the field of that name says {value!r}; give one of them")
    return {**given, **{name: value for name, value in fields.items() if value}}


def parse_filter(items: Iterable[str]) -> dict[str, str]:
    """Labels written as "name=value", the form that fits into a query; LabelError for a name that comes twice or has no value."""
    found: dict[str, str] = {}
    for item in items:
        name, separator, value = (part.strip() for part in item.partition("="))
        if not separator or name in found:
            raise LabelError(name, f"write each label once, as name=value; {item!r} is not that")
        found[name] = value
    return found
