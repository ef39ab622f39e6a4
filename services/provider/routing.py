"""Choosing a model: hard constraints first, then the strategy's order. Same input, same choice."""

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct
from propcache.api import cached_property

from services.provider import constraints as demands
from services.provider.constraints import Constraints
from services.provider.options import Exclusion, Option, Parts, Ranked
from services.provider.sizes import of_characters
from services.provider.strategies import NO_PREFERENCE, Preference, Strategy, Weights, order

__all__ = ["Exclusion", "HalfPoints", "Option", "Parts", "Ranked", "Size", "Strategy", "Weights"]

_NANOS_PER_TOKEN_AT_ONE_PER_MILLION = 1000


class HalfPoints(Struct, frozen=True):
    """Where a part is one half: cost in currency units per million tokens, speed in output tokens a second."""

    cost: float = 2.0
    speed: float = 100.0


class Size(Struct, frozen=True, dict=True):
    """Tokens that a request is expected to take."""

    input_tokens: int
    output_tokens: int
    # tokens of the longest text, when each has the window for itself; 0: all of them share it
    longest: int = 0

    @cached_property
    def total(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Rules(Struct, frozen=True):
    """What decides beside the options: demands (all must be met), and what comes before the score."""

    constraints: tuple[Constraints, ...] = ()
    preference: Preference = NO_PREFERENCE
    # the only models that may take it, e.g. the targets of an alias; None: any
    targets: frozenset[tuple[str, str]] | None = None
    # the model of which vectors are asked for; "": an answer to a conversation is
    embeds: str = ""


ANY = Rules()


def estimate_size(query_characters: int, estimated_tokens: int, default_output_tokens: int) -> Size:
    """Tokens in and out: the query by its length, the rest of the estimate (of both) as output; without an estimate the default."""
    asked = max(of_characters(query_characters), 1)
    if estimated_tokens == 0:
        return Size(asked, default_output_tokens)
    return Size(asked, max(estimated_tokens - asked, 0))


def rank(
    options: Iterable[Option], size: Size, strategy: Strategy, weights: Weights, half: HalfPoints, rules: Rules = ANY
) -> list[Ranked]:
    """Every option: those that are in by the strategy's order, then those that are out by name."""
    judged = [judge(option, size, weights, half, rules) for option in options]
    inside = [ranked for ranked in judged if ranked.exclusion is None]
    outside = [ranked for ranked in judged if ranked.exclusion is not None]
    inside.sort(key=order(strategy, rules.preference))
    outside.sort(key=lambda ranked: ranked.option.key)
    return inside + outside


def judge(option: Option, size: Size, weights: Weights, half: HalfPoints, rules: Rules = ANY) -> Ranked:
    """One option with its score, or with the first reason it is out."""
    reason = _reason(option, size, rules)
    if reason is not None:
        return Ranked(option, exclusion=reason[0], detail=reason[1])
    parts = parts_of(option, option.cost or 0, size, half)
    return Ranked(option, score=score(parts, weights), parts=parts)


def _reason(option: Option, size: Size, rules: Rules) -> tuple[Exclusion, str] | None:
    if rules.targets is not None and option.key not in rules.targets:
        return Exclusion.NOT_A_TARGET, "it is no target of what was asked for"
    if (other := demands.unfit(option, rules.embeds)) is not None:
        return other
    if option.excluded is not None:
        return option.excluded
    if (taken := size.longest or size.total) > option.context_window:
        what = "the longest text" if size.longest else "the request"
        return Exclusion.CONTEXT_WINDOW, f"{what} takes {taken} tokens, its context window is {option.context_window}"
    if option.cost is None:
        return Exclusion.UNKNOWN_PRICE, "neither prices.json nor the registry has a price for it"
    return demands.first_unmet(option, option.cost, rules.constraints)


def parts_of(option: Option, cost: int, size: Size, half: HalfPoints) -> Parts:
    """The parts of an option's score: hyperbolas, so that a part never leaves 0..1 nor depends on which other options there are."""
    per_million = cost * option.pressure / (max(size.total, 1) * _NANOS_PER_TOKEN_AT_ONE_PER_MILLION)
    return Parts(
        cost=half.cost / (half.cost + per_million),
        quality=option.quality if option.draw is None else option.draw,
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
