"""Strategies: each keeps its promise for any options, every model is explained exactly once, the slider turns towards quality."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import routing
from services.provider.options import Option, Ranked
from services.provider.routing import Exclusion, HalfPoints, Rules, Size
from services.provider.strategies import SINGLE, Preference, Strategy, Weights

HALF, SIZE, USUAL = HalfPoints(), Size(100, 400), Weights()
share = st.floats(0, 1)
options = st.builds(
    Option,
    provider_id=st.sampled_from(["a", "b", "c"]),
    model=st.text("xyz", min_size=1, max_size=3),
    cost=st.none() | st.integers(0, 10**9),
    context_window=st.integers(400, 1000),
    quality=share,
    tokens_per_second=st.floats(0.1, 1000),
    uptime=share,
    pressure=st.floats(1, 10),
    in_flight=st.integers(0, 5),
    excluded=st.none() | st.sampled_from(Exclusion).map(lambda reason: (reason, "because")),
)
lists = st.lists(options, max_size=10, unique_by=lambda option: option.key)
weights = st.builds(Weights, st.floats(0.1, 100), st.floats(0.1, 100), st.floats(0, 100), st.floats(0, 100))


def ranked_by(found: list[Option], strategy: Strategy, given_weights: Weights = USUAL, rules: Rules = routing.ANY) -> list[Ranked]:
    """All of them."""
    return routing.rank(found, SIZE, strategy, SINGLE.get(strategy, given_weights), HALF, rules)


def inside(ranked: list[Ranked]) -> list[Option]:
    """Those that are in, best first."""
    return [item.option for item in ranked if item.exclusion is None]


@given(lists, st.sampled_from(Strategy), weights)
def test_every_model_is_explained_exactly_once(found: list[Option], strategy: Strategy, given_weights: Weights) -> None:
    """In with its parts or out with a reason; none is missing, none is there twice."""
    ranked = ranked_by(found, strategy, given_weights)
    assert sorted(item.option.key for item in ranked) == sorted(option.key for option in found)
    assert all((item.parts is None) == (item.exclusion is not None) == bool(item.detail) for item in ranked)


@given(lists)
def test_cheapest_fastest_best_and_least_busy_keep_their_promise(found: list[Option]) -> None:
    """None that is in costs less, is faster, is better or is less busy; what budgets add in pressure changes no price."""
    figures_of: dict[Strategy, Callable[[Option], float]] = {
        Strategy.CHEAPEST: lambda option: option.cost or 0,
        Strategy.FASTEST: lambda option: -option.tokens_per_second,
        Strategy.BEST: lambda option: -option.quality,
        Strategy.LEAST_BUSY: lambda option: option.in_flight,
    }
    for strategy, figure in figures_of.items():
        figures = [figure(option) for option in inside(ranked_by(found, strategy))]
        assert figures == sorted(figures)


@given(lists, weights, share, share, st.floats(1, 4), st.sampled_from([Strategy.BALANCED, Strategy.LEARNED]))
def test_more_quality_weight_never_lowers_the_chosen_quality(
    found: list[Option], base: Weights, one: float, other: float, factor: float, strategy: Strategy
) -> None:
    """The slider is monotone, whatever the other weights are and however tight budgets are."""
    low, high = sorted((one, other))
    base = Weights(base.cost, base.quality, 0.0, 0.0)
    thrifty, choosy = (inside(ranked_by(found, strategy, base.slid(at).with_cost_factor(factor))) for at in (low, high))
    if thrifty:
        # scores are sums of floats: a tie may break either way
        assert choosy[0].quality >= thrifty[0].quality - 1e-6


def test_the_slider_shares_what_cost_and_quality_weigh() -> None:
    """At 0 only cost counts of the two, at 1 only quality; speed and uptime stay."""
    base = Weights(30, 50, 7, 3)
    assert base.slid(0) == Weights(80, 0, 7, 3)
    assert base.slid(1) == Weights(0, 80, 7, 3)
    assert base.slid(0.25) == Weights(60, 20, 7, 3)


@given(lists, st.sampled_from(Strategy), st.data())
def test_a_session_stays_where_it_is_if_that_can_answer(found: list[Option], strategy: Strategy, data: st.DataObject) -> None:
    """It is first when it is in, and changes nothing when it is out."""
    if not found:
        return
    stay = data.draw(st.sampled_from(found)).key
    plain, kept = ranked_by(found, strategy), ranked_by(found, strategy, rules=Rules(preference=Preference(stay=stay)))
    if stay in [option.key for option in inside(plain)]:
        assert kept[0].option.key == stay
        assert [item for item in kept if item.option.key != stay] == [item for item in plain if item.option.key != stay]
    else:
        assert kept == plain


def test_targets_leave_everybody_else_out() -> None:
    """By order of their places; one without a place comes last; the rest is out with the reason."""
    found = [Option("a", name, 1, 1000, 0.5, 1.0, 1.0) for name in "wxyz"]
    rules = Rules(
        preference=Preference({("a", "y"): 1.0, ("a", "x"): 2.0}), targets=frozenset({("a", "w"), ("a", "x"), ("a", "y")})
    )
    ranked = ranked_by(found, Strategy.BALANCED, rules=rules)
    assert [item.option.model for item in ranked] == ["y", "x", "w", "z"]
    assert ranked[-1].exclusion is Exclusion.NOT_A_TARGET


@pytest.mark.parametrize("strategy", list(Strategy))
def test_nothing_to_choose_from(strategy: Strategy) -> None:
    """No options, no candidates, no error."""
    assert ranked_by([], strategy) == []
