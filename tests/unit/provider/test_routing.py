"""Routing: constraints before scores, scores monotone in price and quality, ties decided the same way every time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.provider import routing, sizes
from services.provider.routing import Exclusion, HalfPoints, Option, Ranked, Size, Strategy, Weights

HALF = HalfPoints()
SIZE = Size(100, 400)
share = st.floats(0, 1)
weights = st.builds(Weights, st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.floats(0.1, 100))
exclusions = st.none() | st.sampled_from(Exclusion).map(lambda reason: (reason, "because"))
options = st.builds(
    Option,
    provider_id=st.sampled_from(["a", "b", "c"]),
    model=st.text("xyz", min_size=1, max_size=3),
    cost=st.none() | st.integers(0, 10**12),
    context_window=st.integers(1, 1000),
    quality=share,
    tokens_per_second=st.floats(0.1, 1000),
    uptime=share,
    pressure=st.floats(1, 10),
    free=st.booleans(),
    excluded=exclusions,
)
lists = st.lists(options, max_size=12, unique_by=lambda option: (option.provider_id, option.model))
STRONG = Option("a", "x", 1000, 1000, 0.9, 50.0, 0.99)


@given(lists, st.sampled_from(Strategy), weights, st.data())
def test_the_same_options_give_the_same_order(
    found: list[Option], strategy: Strategy, given_weights: Weights, data: st.DataObject
) -> None:
    """The order in which options come plays no part: ties are decided by cost and name."""
    shuffled = data.draw(st.permutations(found))
    assert routing.rank(found, SIZE, strategy, given_weights, HALF) == routing.rank(shuffled, SIZE, strategy, given_weights, HALF)


@given(lists, st.sampled_from(Strategy), weights)
def test_those_that_are_in_come_first_and_explain_themselves(
    found: list[Option], strategy: Strategy, given_weights: Weights
) -> None:
    """Each is either in, with parts whose weighted mean is its score, or out, with a reason and no score."""
    ranked = routing.rank(found, SIZE, strategy, given_weights, HALF)
    inside = [item.exclusion is None for item in ranked]
    assert inside == sorted(inside, reverse=True)
    for item in ranked:
        assert 0 <= item.score <= 1 + 1e-12
        if item.exclusion is None:
            assert item.parts is not None
            assert item.score == routing.score(item.parts, given_weights)
        else:
            assert (item.parts, item.score) == (None, 0.0)
            assert item.detail


@given(lists, weights)
def test_free_first_puts_every_free_model_before_every_paid_one(found: list[Option], given_weights: Weights) -> None:
    """And leaves the order by score within each of the two."""
    for strategy in (Strategy.FREE_FIRST, Strategy.FREE_FIRST_HIGH_QUALITY):
        ranked = [item for item in routing.rank(found, SIZE, strategy, given_weights, HALF) if item.exclusion is None]
        free = [item.option.free for item in ranked]
        assert free == sorted(free, reverse=True)
        for group in (True, False):
            scores = [item.score for item in ranked if item.option.free is group]
            assert scores == sorted(scores, reverse=True)


@given(st.integers(0, 10**12), st.integers(0, 10**12), weights)
def test_a_dearer_model_never_scores_higher(cost: int, more: int, given_weights: Weights) -> None:
    """All else equal, the score falls with the price."""
    cheap = routing.judge(replace(STRONG, cost=cost), SIZE, given_weights, HALF)
    dear = routing.judge(replace(STRONG, cost=cost + more), SIZE, given_weights, HALF)
    assert dear.score <= cheap.score


@given(share, share, weights)
def test_a_better_model_never_scores_lower(one: float, other: float, given_weights: Weights) -> None:
    """All else equal, the score grows with the quality, and in the same way with speed and uptime."""
    low, high = sorted((one, other))
    pairs = (
        (replace(STRONG, quality=low), replace(STRONG, quality=high)),
        (replace(STRONG, uptime=low), replace(STRONG, uptime=high)),
        (replace(STRONG, tokens_per_second=low + 0.1), replace(STRONG, tokens_per_second=high + 0.1)),
    )
    for worse, better in pairs:
        low_score = routing.judge(worse, SIZE, given_weights, HALF).score
        assert low_score <= routing.judge(better, SIZE, given_weights, HALF).score


@given(lists, lists, st.sampled_from(Strategy), weights)
def test_other_options_do_not_change_an_options_score(
    found: list[Option], others: list[Option], strategy: Strategy, given_weights: Weights
) -> None:
    """Adding a model to the registry never turns the order of two that were there before."""
    known = {(option.provider_id, option.model) for option in found}
    added = [option for option in others if (option.provider_id, option.model) not in known]
    alone = routing.rank(found, SIZE, strategy, given_weights, HALF)
    among = routing.rank([*found, *added], SIZE, strategy, given_weights, HALF)
    assert [item for item in among if (item.option.provider_id, item.option.model) in known] == alone


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (replace(STRONG, context_window=499), Exclusion.CONTEXT_WINDOW),
        (replace(STRONG, cost=None), Exclusion.UNKNOWN_PRICE),
        (replace(STRONG, excluded=(Exclusion.BUDGET_SPENT, "spent")), Exclusion.BUDGET_SPENT),
        (replace(STRONG, context_window=500), None),
    ],
)
def test_what_keeps_a_model_out(option: Option, reason: Exclusion | None) -> None:
    """A window one token too small, no price, a spent budget; a window that just fits is in."""
    assert routing.judge(option, SIZE, Weights(), HALF).exclusion is reason


def test_high_quality_and_cheapness_choose_differently() -> None:
    """With the shipped weights a cheap model wins a balanced choice against a much dearer one, and loses where quality counts."""
    cheap = Option("a", "cheap", 100_000, 1000, 0.6, 100.0, 0.99)
    dear = Option("a", "dear", 10_000_000, 1000, 0.9, 50.0, 0.99)
    balanced = routing.rank([cheap, dear], SIZE, Strategy.BALANCED, Weights(), HALF)
    best = routing.rank([cheap, dear], SIZE, Strategy.HIGH_QUALITY, Weights(5, 80, 5, 10), HALF)
    assert [balanced[0].option.model, best[0].option.model] == ["cheap", "dear"]


def test_a_heavier_cost_weight_turns_to_the_cheaper_model() -> None:
    """What a budget that runs low does: the same two models, cost weighing four times as much, the other choice."""
    cheap = Option("a", "cheap", 100_000, 1000, 0.5, 100.0, 0.99)
    dear = Option("a", "dear", 1_000_000, 1000, 0.9, 100.0, 0.99)
    plain, tight = Weights(), Weights().with_cost_factor(4)
    chosen = [routing.rank([cheap, dear], SIZE, Strategy.BALANCED, given, HALF)[0].option.model for given in (plain, tight)]
    assert chosen == ["dear", "cheap"]


def test_pressure_on_a_model_makes_it_look_dearer_but_not_cost_more() -> None:
    """The cost part falls as if the price were higher; the estimate stays the true one."""
    plain, pressed = (routing.judge(replace(STRONG, cost=10**6, pressure=factor), SIZE, Weights(), HALF) for factor in (1.0, 4.0))
    assert plain.parts is not None
    assert pressed.parts is not None
    assert pressed.parts.cost < plain.parts.cost
    assert pressed.option.cost == plain.option.cost


@given(st.integers(0, 100_000), st.integers(0, 1_000_000), st.integers(0, 10_000))
def test_an_estimate_is_never_smaller_than_the_query(characters: int, estimated: int, default: int) -> None:
    """Tokens in and out add up to the estimate, or to what the query alone takes when that is more."""
    size = routing.estimate_size(characters, estimated, default)
    assert size.input_tokens * sizes.CHARACTERS_PER_TOKEN >= characters
    assert size.total == (max(estimated, size.input_tokens) if estimated else size.input_tokens + default)


def test_the_commonest_reason_is_named() -> None:
    """The most frequent one, the first of the contract's order among equals, none without options."""
    out = [Ranked(STRONG, exclusion=reason) for reason in (Exclusion.BUDGET_SPENT, Exclusion.UNAVAILABLE, Exclusion.BUDGET_SPENT)]
    assert routing.commonest_exclusion(out) is Exclusion.BUDGET_SPENT
    assert routing.commonest_exclusion(out[:2]) is Exclusion.UNAVAILABLE
    assert routing.commonest_exclusion([]) is None
