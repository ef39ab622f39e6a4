"""Which events a reader wants: the rule of a filter, compiled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from tooloo.event.v1.event_pb2 import Event

if TYPE_CHECKING:
    from bus.expressions import Expression


class ExpressionError(ValueError):
    """An expression that cannot be a filter; the message says why, and at which character."""


class Verdict(Enum):
    """What a filter says of an event."""

    WANTED = "wanted"
    PASSED_OVER = "passed over"


@dataclass(frozen=True)
class Failed:
    """A filter could not say whether it wants an event: its expression failed on it."""

    error: str


Judgement = Verdict | Failed


@dataclass(frozen=True)
class Filter:
    """All given parts must match; an empty part does not restrict.

    `types` are dotted names; a trailing "*" stands for one or more further letters of the name ("budget.*", "*"). `cel` is an
    expression in CEL, compiled when it is first needed; compile() does it now.
    """

    types: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset()
    subject_prefix: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    cel: str = ""

    @property
    def every_type(self) -> bool:
        """True when neither types nor sources restrict."""
        return not self.sources and (not self.types or "*" in self.types)

    @property
    def by_type_alone(self) -> bool:
        """True when nothing but type and source has to be looked at."""
        return not (self.subject_prefix or self.attributes or self.cel)

    def wants_type(self, name: str, source: str) -> bool:
        """Whether events of this dotted type, told by this source, can match."""
        return (not self.sources or source in self.sources) and (
            not self.types or any(matches(pattern, name) for pattern in self.types)
        )

    def table(self, types: Sequence[tuple[int, str, str]]) -> bytes:
        """Which types can match, one byte for each type number; `types` are (number, type, source)."""
        table = bytearray(1 + max((number for number, _, _ in types), default=0))
        for number, name, source in types:
            table[number] = self.wants_type(name, source)
        return bytes(table)

    def wants(self, subject: str, attributes: Mapping[str, str]) -> bool:
        """Whether an event of a wanted type matches in all its other parts but the expression."""
        return subject.startswith(self.subject_prefix) and all(
            attributes.get(key) == value for key, value in self.attributes.items()
        )

    def judge(self, position: int, event: Event) -> Judgement:
        """Whether an event matches in all parts; the dear one, the expression, is asked last. ExpressionError as compile()."""
        if not (self.wants_type(event.type, event.source) and self.wants(event.subject, event.attributes)):
            return Verdict.PASSED_OVER
        return self._expression.judge(position, event) if self._expression else Verdict.WANTED

    def compile(self) -> Filter:
        """Gives the filter with its expression compiled; ExpressionError when that cannot be."""
        _ = self._expression
        return self

    @cached_property
    def _expression(self) -> Expression | None:
        if not self.cel:
            return None
        # loads 20 ms of library, which a bus without such filters never needs
        from bus.expressions import Expression  # noqa: PLC0415

        return Expression(self.cel)


def matches(pattern: str, name: str) -> bool:
    """Whether a dotted name fits a pattern that may end in "*"."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1]) and len(name) >= len(pattern)
    return name == pattern
