"""Where a request goes when a model could not answer it: chains by cause, else the next candidates of the selection."""

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct, field

from services.provider.failure import FailureKind


class Cause(enum.IntEnum):
    """What a chain is for; the numbers are those of the contract."""

    # the target does not work, or not for us, or not now
    GENERAL = 1
    # the request is longer than the model takes
    CONTEXT_WINDOW = 2
    # the provider's policy refuses the content
    CONTENT_POLICY = 3


_CAUSES = {FailureKind.CONTEXT_WINDOW: Cause.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY: Cause.CONTENT_POLICY}


def cause_of(kind: FailureKind) -> Cause:
    """Which chain a failure leads to."""
    return _CAUSES.get(kind, Cause.GENERAL)


class Target(NamedTuple):
    """A model at a provider."""

    provider_id: str
    model: str


class Link(Struct, frozen=True):
    """One entry of a chain: a target, or the alias that stands for some."""

    target: Target | None = None
    alias: str = ""


class Chain(Struct, frozen=True):
    """A chain as it was set: its links by cause, in the order in which they are tried."""

    chain_id: str
    links: Mapping[Cause, tuple[Link, ...]] = field(default_factory=dict)
    description: str = ""


class Candidate(Struct, frozen=True):
    """A target that may be tried, its keys in the order to try them ("": it needs none), its context window (0: unknown)."""

    target: Target
    keys: tuple[str, ...] = ("",)
    context_window: int = 0


class Plan(Struct, frozen=True):
    """What may be tried for a request: candidates by rank, and the chains that replace all but the first of them."""

    ranked: tuple[Candidate, ...]
    chains: Mapping[Cause, tuple[Candidate, ...]] = field(default_factory=dict)

    def course(self) -> tuple[Candidate, ...]:
        """The order in which to try when nothing is known yet: the best, then the general chain, without one the others by rank."""
        return _once((*self.ranked[:1], *self.chains.get(Cause.GENERAL, self.ranked[1:])))

    def onward(
        self, cause: Cause, failed: Candidate, course: Iterable[Candidate], tried: Collection[Target]
    ) -> tuple[Candidate, ...]:
        """What is left to try after a candidate failed: the chain of the cause when there is one, else what fits of the course."""
        left = self.chains.get(cause, ()) if cause is not Cause.GENERAL else ()
        fits = _FITS[cause]
        return _once(item for item in left or course if item.target not in tried and fits(failed, item, bool(left)))


def _larger(failed: Candidate, item: Candidate, chosen: bool) -> bool:
    """Takes more than the one that could not; a window that nobody knows counts when somebody chose the model for this cause."""
    return item.context_window > failed.context_window or (chosen and 0 in (item.context_window, failed.context_window))


def _elsewhere(failed: Candidate, item: Candidate, chosen: bool) -> bool:
    """Another provider has another policy; at the same one only what somebody chose for this cause."""
    return chosen or item.target.provider_id != failed.target.provider_id


_FITS = {Cause.GENERAL: lambda failed, item, chosen: True, Cause.CONTEXT_WINDOW: _larger, Cause.CONTENT_POLICY: _elsewhere}


def _once(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The first of each target."""
    found: dict[Target, Candidate] = {}
    for candidate in candidates:
        found.setdefault(candidate.target, candidate)
    return tuple(found.values())
