"""Strategies: how those that are in are put in order. Same input, same order."""

import enum
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from services.provider.options import Option, Ranked


class Strategy(enum.IntEnum):
    """How a choice is made; the numbers are those of the contract."""

    BALANCED = 1
    HIGH_QUALITY = 2
    FREE_FIRST = 3
    FREE_FIRST_HIGH_QUALITY = 4
    CHEAPEST = 5
    FASTEST = 6
    BEST = 7
    LEAST_BUSY = 8
    WEIGHTED = 9
    LEARNED = 10

    @property
    def free_first(self) -> bool:
        """Whether models that cost nothing come before all others."""
        return self in (Strategy.FREE_FIRST, Strategy.FREE_FIRST_HIGH_QUALITY)

    @property
    def high_quality(self) -> bool:
        """Whether quality weighs most."""
        return self in (Strategy.HIGH_QUALITY, Strategy.FREE_FIRST_HIGH_QUALITY)


class Weights(Struct, frozen=True):
    """Relative weights of the parts of a score; at least one is above 0."""

    cost: float = 30.0
    quality: float = 40.0
    speed: float = 20.0
    uptime: float = 10.0

    def with_cost_factor(self, factor: float) -> "Weights":
        """The same with the cost weighing so many times as much."""
        return Weights(self.cost * factor, self.quality, self.speed, self.uptime)

    def slid(self, quality_weight: float) -> "Weights":
        """The slider: of what cost and quality weigh together, quality takes this share (0..1) and cost the rest."""
        both = self.cost + self.quality
        return Weights(both * (1 - quality_weight), both * quality_weight, self.speed, self.uptime)


# what the score of a strategy with one goal is made of
SINGLE = {
    Strategy.CHEAPEST: Weights(1, 0, 0, 0),
    Strategy.FASTEST: Weights(0, 0, 1, 0),
    Strategy.BEST: Weights(0, 1, 0, 0),
}


class Preference(Struct, frozen=True):
    """What comes before the score: places by weight (the smallest first; those without one last), and the model to stay with."""

    places: Mapping[tuple[str, str], float] = field(default_factory=dict)
    stay: tuple[str, str] | None = None


NO_PREFERENCE = Preference()
_LAST = float("inf")
Rank = tuple[float, ...]


def _cheapest(option: Option) -> Rank:
    return (float(option.cost or 0),)


def _fastest(option: Option) -> Rank:
    return (-option.tokens_per_second,)


def _best(option: Option) -> Rank:
    return (-option.quality,)


def _least_busy(option: Option) -> Rank:
    return (float(option.in_flight),)


def _by_score(option: Option) -> Rank:
    return ()


_FIRST: Mapping[Strategy, Callable[[Option], Rank]] = {
    Strategy.CHEAPEST: _cheapest,
    Strategy.FASTEST: _fastest,
    Strategy.BEST: _best,
    Strategy.LEAST_BUSY: _least_busy,
}


def order(strategy: Strategy, preference: Preference) -> Callable[[Ranked], tuple[object, ...]]:
    """What those that are in are sorted by: staying, shares, free ones, the strategy's goal, the score, the cost, the name."""
    first, free_first = _FIRST.get(strategy, _by_score), strategy.free_first
    stay, places = preference.stay, preference.places

    def place(ranked: Ranked) -> tuple[object, ...]:
        option = ranked.option
        return (
            option.key != stay,
            places.get(option.key, _LAST),
            free_first and not option.free,
            first(option),
            -ranked.score,
            option.cost or 0,
            option.provider_id,
            option.model,
        )

    return place
