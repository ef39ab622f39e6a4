"""Which events a reader wants: the rule of a filter, compiled once."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Filter:
    """All given parts must match; an empty part does not restrict.

    `types` are dotted names; a trailing "*" stands for one or more further letters of the name ("budget.*", "*").
    """

    types: tuple[str, ...] = ()
    sources: frozenset[str] = frozenset()
    subject_prefix: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def every_type(self) -> bool:
        """True when neither types nor sources restrict."""
        return not self.sources and (not self.types or "*" in self.types)

    @property
    def by_type_alone(self) -> bool:
        """True when nothing but type and source has to be looked at."""
        return not (self.subject_prefix or self.attributes)

    def wants_type(self, name: str, source: str) -> bool:
        """Whether events of this dotted type, told by this source, can match."""
        return (not self.sources or source in self.sources) and (
            not self.types or any(matches(pattern, name) for pattern in self.types)
        )

    def wants(self, subject: str, attributes: Mapping[str, str]) -> bool:
        """Whether an event of a wanted type matches in all its other parts."""
        return subject.startswith(self.subject_prefix) and all(
            attributes.get(key) == value for key, value in self.attributes.items()
        )


def matches(pattern: str, name: str) -> bool:
    """Whether a dotted name fits a pattern that may end in "*"."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1]) and len(name) >= len(pattern)
    return name == pattern
