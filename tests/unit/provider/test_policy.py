"""Policies as text for the store: what is written is read back."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.provider import policy
from services.provider.policy import Policy, Share
from services.provider.strategies import Strategy, Weights
from tests.unit.provider.test_constraints import sets

NOW = datetime(2026, 11, 25, tzinfo=UTC)
shares = st.lists(st.builds(Share, st.just("a"), st.text("xy"), st.floats(0, 10)), max_size=3).map(tuple)


@given(
    st.text(),
    st.sampled_from(Strategy),
    st.none() | st.builds(Weights, st.floats(0, 9)),
    st.none() | st.floats(0, 1),
    sets,
    shares,
)
def test_a_policy_survives_the_store(
    name: str, strategy: Strategy, weights: Weights | None, slider: float | None, demands: object, given_shares: tuple[Share, ...]
) -> None:
    """Every field, sets as sets, None as None; the times come from columns of their own."""
    made = Policy("p", name, strategy, weights, slider, demands, given_shares, NOW, NOW)  # type: ignore[arg-type]
    assert policy.policy_from_json(made.to_json(), NOW, NOW) == made


@given(shares)
def test_targets_survive_the_store(targets: tuple[Share, ...]) -> None:
    """Models and weights in their order."""
    assert policy.targets_from_json(policy.targets_to_json(targets)) == targets
