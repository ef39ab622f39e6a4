"""Choosing a model: hard constraints first, then a weighted mean of cost, quality, speed and uptime. Same input, same choice."""

import enum
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CHARACTERS_PER_TOKEN = 3.5
_NANOS_PER_TOKEN_AT_ONE_PER_MILLION = 1000


class Strategy(enum.IntEnum):
    """How a choice is made; the numbers are those of the contract."""

    BALANCED = 1
    HIGH_QUALITY = 2
    FREE_FIRST = 3
    FREE_FIRST_HIGH_QUALITY = 4

    @property
    def free_first(self) -> bool:
        """Whether models that cost nothing come before all others."""
        return self in (Strategy.FREE_FIRST, Strategy.FREE_FIRST_HIGH_QUALITY)

    @property
    def high_quality(self) -> bool:
        """Whether quality weighs most."""
        return self in (Strategy.HIGH_QUALITY, Strategy.FREE_FIRST_HIGH_QUALITY)


class Exclusion(enum.IntEnum):
    """Why a model is out; the numbers are those of the contract."""

    NOT_CONFIGURED = 1
    UNAVAILABLE = 2
    DISABLED = 3
    CONTEXT_WINDOW = 4
    UNKNOWN_PRICE = 5
    BUDGET_SPENT = 6


@dataclass(frozen=True)
class Weights:
    """Relative weights of the parts of a score; at least one is above 0."""

    cost: float = 30.0
    quality: float = 40.0
    speed: float = 20.0
    uptime: float = 10.0

    def with_cost_factor(self, factor: float) -> "Weights":
        """The same with the cost weighing so many times as much."""
        return Weights(self.cost * factor, self.quality, self.speed, self.uptime)


@dataclass(frozen=True)
class HalfPoints:
    """Where a part is one half: cost in currency units per million tokens, speed in output tokens a second."""

    cost: float = 2.0
    speed: float = 100.0


@dataclass(frozen=True)
class Size:
    """Tokens that a request is expected to take."""

    input_tokens: int
    output_tokens: int

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Option:
    """What is known of a model at the moment of the choice.

    `cost` is the request's estimate in nano units (None: unknown); `pressure` is how many times dearer budgets make it look;
    `excluded` is a reason found by whoever knows keys, addresses and budgets.
    """

    provider_id: str
    model: str
    cost: int | None
    context_window: int
    quality: float
    tokens_per_second: float
    uptime: float
    pressure: float = 1.0
    free: bool = False
    excluded: tuple[Exclusion, str] | None = None


@dataclass(frozen=True)
class Parts:
    """The parts of a score, each 0..1 and higher is better."""

    cost: float
    quality: float
    speed: float
    uptime: float


@dataclass(frozen=True)
class Ranked:
    """An option with its score and parts, or with the reason it is out (then the score is 0 and there are no parts)."""

    option: Option
    score: float = 0.0
    parts: Parts | None = None
    exclusion: Exclusion | None = None
    detail: str = ""


def estimate_size(query_characters: int, estimated_tokens: int, default_output_tokens: int) -> Size:
    """Tokens in and out: the query by its length, the rest of the estimate (of both) as output; without an estimate the default."""
    asked = max(math.ceil(query_characters / CHARACTERS_PER_TOKEN), 1)
    if estimated_tokens == 0:
        return Size(asked, default_output_tokens)
    return Size(asked, max(estimated_tokens - asked, 0))


def rank(options: Iterable[Option], size: Size, strategy: Strategy, weights: Weights, half: HalfPoints) -> list[Ranked]:
    """Every option: those that are in by rank (free first when wished, score, cost, then name), then those that are out by name."""
    judged = [judge(option, size, weights, half) for option in options]
    return sorted(judged, key=lambda ranked: _order(ranked, strategy))


def _order(ranked: Ranked, strategy: Strategy) -> tuple[bool, bool, float, int, str, str]:
    option = ranked.option
    inside = ranked.exclusion is None
    paid = inside and strategy.free_first and not option.free
    cost = option.cost if inside and option.cost is not None else 0
    return not inside, paid, -ranked.score, cost, option.provider_id, option.model


def judge(option: Option, size: Size, weights: Weights, half: HalfPoints) -> Ranked:
    """One option with its score, or with the first reason it is out."""
    if option.excluded is not None:
        reason, detail = option.excluded
        return Ranked(option, exclusion=reason, detail=detail)
    if size.total > option.context_window:
        detail = f"the request takes {size.total} tokens, its context window is {option.context_window}"
        return Ranked(option, exclusion=Exclusion.CONTEXT_WINDOW, detail=detail)
    if option.cost is None:
        return Ranked(option, exclusion=Exclusion.UNKNOWN_PRICE, detail="neither prices.json nor the registry has a price for it")
    parts = parts_of(option, option.cost, size, half)
    return Ranked(option, score=score(parts, weights), parts=parts)


def parts_of(option: Option, cost: int, size: Size, half: HalfPoints) -> Parts:
    """The parts of an option's score: hyperbolas, so that a part never leaves 0..1 nor depends on which other options there are."""
    per_million = cost * option.pressure / (max(size.total, 1) * _NANOS_PER_TOKEN_AT_ONE_PER_MILLION)
    return Parts(
        cost=half.cost / (half.cost + per_million),
        quality=option.quality,
        speed=option.tokens_per_second / (option.tokens_per_second + half.speed),
        uptime=option.uptime,
    )


def score(parts: Parts, weights: Weights) -> float:
    """Weighted mean of the parts, 0..1."""
    weighted = (
        parts.cost * weights.cost,
        parts.quality * weights.quality,
        parts.speed * weights.speed,
        parts.uptime * weights.uptime,
    )
    return sum(weighted) / (weights.cost + weights.quality + weights.speed + weights.uptime)


def commonest_exclusion(ranked: Iterable[Ranked]) -> Exclusion | None:
    """The reason that keeps most options out, the lower number among equals; None when there are no options at all."""
    counts: Mapping[Exclusion, int] = Counter(item.exclusion for item in ranked if item.exclusion is not None)
    return min(counts, key=lambda reason: (-counts[reason], reason), default=None)
