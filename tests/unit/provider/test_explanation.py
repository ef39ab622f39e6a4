"""Explanations of selections survive being packed."""

from hypothesis import given
from hypothesis import strategies as st

from services.provider.explanation import Explanation, from_bytes, to_bytes
from services.provider.options import Exclusion, Option, Parts, Ranked
from services.provider.strategies import Weights

shares = st.floats(0, 1)
options = st.builds(
    Option,
    provider_id=st.text(max_size=5),
    model=st.text(max_size=5),
    cost=st.none() | st.integers(0, 10**15),
    context_window=st.just(0),
    quality=shares,
    tokens_per_second=st.just(0.0),
    uptime=st.just(0.0),
    in_flight=st.integers(0, 99),
    deviation=shares,
    evidence=shares,
    cached_tokens=st.integers(0, 99),
)
ranked = st.builds(
    Ranked,
    option=options,
    score=shares,
    parts=st.none() | st.builds(Parts, shares, shares, shares, shares),
    exclusion=st.none() | st.sampled_from(Exclusion),
    detail=st.text(max_size=9),
)
weights = st.builds(Weights, shares, shares, shares, shares)


@given(st.builds(Explanation, st.lists(ranked, max_size=4), weights, st.text(max_size=9), st.text(max_size=9), shares))
def test_what_goes_in_comes_out(explanation: Explanation) -> None:
    """Every field that a candidate shows."""
    assert from_bytes(to_bytes(explanation)) == explanation
