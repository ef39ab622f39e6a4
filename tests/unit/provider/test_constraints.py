"""Demands: each has its reason, all of several sets must be met, tightening never lets a model in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.provider import constraints, routing
from services.provider.constraints import DATA_POLICIES, NOTHING, Constraints
from services.provider.options import Exclusion, Option
from services.provider.routing import HalfPoints, Rules, Size
from services.provider.strategies import Strategy, Weights

SIZE = Size(10, 10)
STRONG = Option(
    *("acme", "big", 1000, 1000, 0.8, 50.0, 0.99),
    capabilities=("tools", "vision"),
    region="eu",
    data_policy="zero_retention",
)  # fmt: skip
names = st.sets(st.sampled_from(["acme", "brim", "acme/big", "brim/x", "acme/y"]), max_size=3).map(frozenset)
sets = st.builds(
    Constraints,
    capabilities=st.sets(st.sampled_from(["tools", "vision"])).map(frozenset),
    min_context_window=st.integers(0, 2000),
    allowed=names,
    forbidden=names,
    regions=st.sets(st.sampled_from(["eu", "us"])).map(frozenset),
    data_policy=st.sampled_from(DATA_POLICIES),
    max_cost=st.none() | st.integers(0, 2000),
    min_quality=st.floats(0, 1),
)
options = st.builds(
    Option,
    provider_id=st.sampled_from(["acme", "brim"]),
    model=st.sampled_from(["big", "x", "y"]),
    cost=st.integers(0, 2000),
    context_window=st.integers(1, 2000),
    quality=st.floats(0, 1),
    tokens_per_second=st.floats(1, 100),
    uptime=st.floats(0, 1),
    capabilities=st.sets(st.sampled_from(["tools", "vision"])).map(tuple),
    region=st.sampled_from(["", "eu", "us"]),
    data_policy=st.sampled_from(DATA_POLICIES),
)
lists = st.lists(options, max_size=6, unique_by=lambda option: option.key)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Constraints(capabilities=frozenset({"audio"})), Exclusion.CAPABILITY),
        (Constraints(min_context_window=1001), Exclusion.CONTEXT_WINDOW),
        (Constraints(allowed=frozenset({"brim"})), Exclusion.NOT_ALLOWED),
        (Constraints(forbidden=frozenset({"acme/big"})), Exclusion.NOT_ALLOWED),
        (Constraints(forbidden=frozenset({"acme"})), Exclusion.NOT_ALLOWED),
        (Constraints(regions=frozenset({"us"})), Exclusion.REGION),
        (Constraints(data_policy="local"), Exclusion.DATA_POLICY),
        (Constraints(max_cost=999), Exclusion.TOO_EXPENSIVE),
        (Constraints(min_quality=0.81), Exclusion.LOW_QUALITY),
    ],
)
def test_each_demand_has_its_reason(wanted: Constraints, reason: Exclusion) -> None:
    """One step beyond what the model has; the sentence says what is wanted."""
    found = constraints.first_unmet(STRONG, 1000, (wanted,))
    assert found is not None
    assert found[0] is reason
    assert found[1]


@pytest.mark.parametrize(
    "wanted",
    [
        NOTHING,
        Constraints(capabilities=frozenset({"tools", "vision"}), min_context_window=1000, max_cost=1000, min_quality=0.8),
        Constraints(allowed=frozenset({"acme"}), regions=frozenset({"eu", "us"}), data_policy="no_training"),
        Constraints(allowed=frozenset({"acme/big"}), forbidden=frozenset({"acme/other", "brim"})),
    ],
)
def test_what_just_fits_is_in(wanted: Constraints) -> None:
    """Exactly as much as is demanded; a stronger promise than the one demanded."""
    assert constraints.first_unmet(STRONG, 1000, (wanted,)) is None


def test_an_unknown_region_or_data_policy_meets_no_demand() -> None:
    """What the registry does not say is not assumed."""
    silent = replace(STRONG, region="", data_policy="")
    assert constraints.first_unmet(silent, 1, (NOTHING,)) is None
    for wanted in (Constraints(regions=frozenset({"eu"})), Constraints(data_policy="no_training")):
        assert constraints.first_unmet(silent, 1, (wanted,)) is not None


def inside(found: list[Option], *wanted: Constraints) -> set[tuple[str, str]]:
    """Those that are in."""
    ranked = routing.rank(found, SIZE, Strategy.BALANCED, Weights(), HalfPoints(), Rules(wanted))
    return {item.option.key for item in ranked if item.exclusion is None}


@given(lists, sets, sets)
def test_a_further_demand_never_lets_a_model_in(found: list[Option], one: Constraints, other: Constraints) -> None:
    """Both sets together admit exactly those that each of them admits."""
    assert inside(found, one, other) == inside(found, one) & inside(found, other)
    assert inside(found, one) <= inside(found)


@given(lists, sets, st.integers(0, 500), st.integers(0, 500), st.floats(0, 0.5))
def test_tightening_never_lets_a_model_in(
    found: list[Option], loose: Constraints, cheaper: int, longer: int, better: float
) -> None:
    """Less money, a longer window, more quality."""
    tight = replace(
        loose,
        max_cost=None if loose.max_cost is None else max(loose.max_cost - cheaper, 0),
        min_context_window=loose.min_context_window + longer,
        min_quality=min(loose.min_quality + better, 1.0),
    )
    assert inside(found, tight) <= inside(found, loose)
