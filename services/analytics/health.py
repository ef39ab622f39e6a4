"""Health of a service: a score from four parts, no score from too few samples, and bands that do not flap."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from services.analytics.buckets import SECOND

# The parts that have a score must hold at least this share of the weight before the whole has one.
_ENOUGH_WEIGHT = 0.5
_ROUNDING = 1e-9


class Aspect(IntEnum):
    """What a part looks at."""

    AVAILABILITY = 1
    ERRORS = 2
    LATENCY = 3
    FRESHNESS = 4


class Band(IntEnum):
    """What a score means; a greater one is better."""

    NOT_ENOUGH_DATA = 1
    UNHEALTHY = 2
    DEGRADED = 3
    HEALTHY = 4


class Condition(IntEnum):
    """What a service's process was last seen to be."""

    UP = 1
    DOWN = 2
    STOPPED = 3


@dataclass(frozen=True)
class Policy:
    """What a part needs and weighs. Targets in seconds; bands start at `degraded_from` and `healthy_from`."""

    weights: tuple[float, float, float, float] = (0.4, 0.3, 0.2, 0.1)
    samples_needed: int = 20
    seconds_needed: int = 60
    latency_target: float = 2.0
    delay_target: float = 1.0
    degraded_from: float = 0.6
    healthy_from: float = 0.9
    margin: float = 0.03

    def __post_init__(self) -> None:
        """Refuses thresholds out of order and weights that are not positive."""
        if not 0 < self.degraded_from < self.healthy_from <= 1 or self.margin < 0 or self.margin >= self.degraded_from:
            raise ValueError("health needs 0 < degraded_from < healthy_from <= 1 and 0 <= margin < degraded_from")
        if min(self.weights) <= 0 or min(self.latency_target, self.delay_target) <= 0:
            raise ValueError("health needs weights and targets above zero")

    def weight(self, aspect: Aspect) -> float:
        """Weight of a part."""
        return self.weights[aspect - 1]


@dataclass(frozen=True)
class Transition:
    """A process was seen to change at a time (microseconds)."""

    process: str
    condition: Condition
    time_us: int


@dataclass(frozen=True)
class Part:
    """One part of a score; no score when there are fewer samples than needed."""

    aspect: Aspect
    score: float | None
    weight: float
    samples: int
    needed: int
    detail: str


@dataclass(frozen=True)
class Health:
    """The parts of a service's health, and whether none of its known processes is up now."""

    parts: tuple[Part, ...]
    down: bool = False

    @property
    def score(self) -> float | None:
        """Weighted geometric mean of the parts that have a score; 0 when down; None when they hold too little of the weight."""
        if self.down:
            return 0.0
        known = [(part.weight, part.score) for part in self.parts if part.score is not None]
        weight = sum(w for w, _ in known)
        if weight < _ENOUGH_WEIGHT * sum(part.weight for part in self.parts) - _ROUNDING:
            return None
        if any(score == 0 for _, score in known):
            return 0.0
        return min(1.0, math.exp(sum(w * math.log(score) for w, score in known) / weight))


def availability(policy: Policy, transitions: Iterable[Transition], start_us: int, end_us: int) -> tuple[Part, bool]:
    """Share of the known time in [start, end) in which the processes were up, and whether all of them are down at the end.

    `transitions` may begin before the span: they say how it began. Time stopped on purpose is neither up nor known.
    """
    histories: dict[str, list[Transition]] = defaultdict(list)
    for transition in sorted(transitions, key=lambda t: t.time_us):
        if transition.time_us < end_us:
            histories[transition.process].append(transition)
    up, known = 0, 0
    for history in histories.values():
        for now, then_us in zip(history, [*(t.time_us for t in history[1:]), end_us], strict=True):
            length = max(0, then_us - max(now.time_us, start_us))
            known += length if now.condition is not Condition.STOPPED else 0
            up += length if now.condition is Condition.UP else 0
    last = [history[-1].condition for history in histories.values()]
    detail = f"up {up / SECOND:.0f} of {known / SECOND:.0f} s known"
    return _part(policy, Aspect.AVAILABILITY, up / known if known else 0.0, known // SECOND, detail), (
        Condition.DOWN in last and Condition.UP not in last
    )


def errors(policy: Policy, failed: int, succeeded: int) -> Part:
    """Share of the outcomes that did not fail."""
    outcomes = failed + succeeded
    return _part(policy, Aspect.ERRORS, succeeded / outcomes if outcomes else 0.0, outcomes, f"{failed} of {outcomes} failed")


def latency(policy: Policy, p95: float | None, samples: int) -> Part:
    """Target over the 95th percentile in seconds, at most 1."""
    return _against(policy, Aspect.LATENCY, p95, policy.latency_target, samples)


def freshness(policy: Policy, p95: float | None, samples: int) -> Part:
    """Target over the 95th percentile of the events' delay in seconds, at most 1."""
    return _against(policy, Aspect.FRESHNESS, p95, policy.delay_target, samples)


def _against(policy: Policy, aspect: Aspect, p95: float | None, target: float, samples: int) -> Part:
    if p95 is None:
        return _part(policy, aspect, 0.0, 0, "no values")
    score = 1.0 if p95 <= target else target / p95
    return _part(policy, aspect, score, samples, f"95 % within {p95:.3g} s, target {target:g} s")


def _part(policy: Policy, aspect: Aspect, score: float, samples: int, detail: str) -> Part:
    needed = policy.seconds_needed if aspect is Aspect.AVAILABILITY else policy.samples_needed
    return Part(aspect, score if samples >= max(needed, 1) else None, policy.weight(aspect), samples, needed, detail)


def band_of(policy: Policy, score: float | None) -> Band:
    """The band of a score by itself."""
    if score is None:
        return Band.NOT_ENOUGH_DATA
    if score >= policy.healthy_from:
        return Band.HEALTHY
    return Band.DEGRADED if score >= policy.degraded_from else Band.UNHEALTHY


def next_band(policy: Policy, current: Band, score: float | None) -> Band:
    """The band after `current`: it changes only when the score passed a threshold by the margin (hysteresis, a Schmitt trigger).

    Without a score the band stays; the first score gives the first band.
    """
    if score is None:
        return current
    if current is Band.NOT_ENOUGH_DATA or score <= 0:
        return band_of(policy, score)
    better = band_of(policy, score - policy.margin) if score < 1 else Band.HEALTHY
    worse = band_of(policy, score + policy.margin)
    return better if better > current else min(current, worse)


def outcome_of(event_type: str, failures: Sequence[str], successes: Sequence[str]) -> bool | None:
    """True for a type whose last word means success, False for failure, None for one that is no outcome."""
    word = event_type.rpartition(".")[2]
    if word in failures:
        return False
    return True if word in successes else None
