"""Prices: exact costs, cached input charged once, long inputs at their own rate."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from services.provider.pricing import FREE, TOKENS_PER_PRICE, Price, Rate

tokens = st.integers(min_value=0, max_value=10_000_000)
prices = st.integers(min_value=0, max_value=200 * 10**9)
rates = st.builds(Rate, prices, prices, st.none() | prices)


@given(rates, tokens, tokens)
def test_a_cost_is_the_exact_product_rounded_up(rate: Rate, given_in: int, given_out: int) -> None:
    """Against rational arithmetic: never below the exact cost, never a whole nano unit above it."""
    exact = Fraction(given_in * rate.input + given_out * rate.output, TOKENS_PER_PRICE)
    cost = Price(rate).cost(given_in, given_out)
    assert 0 <= cost - exact < 1


@given(rates, tokens, tokens, st.data())
def test_cached_input_is_charged_once(rate: Rate, given_in: int, given_out: int, data: st.DataObject) -> None:
    """Cached tokens are part of the input: they pay their own rate instead of, not on top of, the input's."""
    cached = data.draw(st.integers(0, given_in))
    cached_rate = rate.input if rate.cached_input is None else rate.cached_input
    exact = Fraction((given_in - cached) * rate.input + cached * cached_rate + given_out * rate.output, TOKENS_PER_PRICE)
    assert 0 <= Price(rate).cost(given_in, given_out, cached) - exact < 1


@given(rates, tokens, tokens, st.integers(1, 1000))
def test_more_tokens_never_cost_less(rate: Rate, given_in: int, given_out: int, more: int) -> None:
    """Cost grows with either kind of token."""
    price = Price(rate)
    assert price.cost(given_in, given_out) <= price.cost(given_in + more, given_out)
    assert price.cost(given_in, given_out) <= price.cost(given_in, given_out + more)


def test_a_long_input_pays_the_dearer_rate_for_the_whole_call() -> None:
    """The vendors' cliff: at the boundary the base rate holds, one token more and every token pays the tier's."""
    price = Price(Rate(1_000_000, 5_000_000), ((200_000, Rate(2_000_000, 7_000_000)), (500_000, Rate(4_000_000, 9_000_000))))
    assert price.cost(200_000, 10) == 200_000 + 50
    assert price.cost(200_001, 10) == 400_002 + 70
    assert price.cost(500_001, 10) == 2_000_004 + 90


def test_known_list_price() -> None:
    """A worked example by hand: 1,000 in at $0.25 and 2,000 out at $2 per million are $0.00425."""
    assert Price(Rate(250_000_000, 2_000_000_000)).cost(1_000, 2_000) == 4_250_000


def test_free_means_every_rate_is_zero() -> None:
    """A dearer tier makes a model that starts at zero not free."""
    assert FREE.free
    assert not Price(Rate(0, 0), ((10, Rate(1, 0)),)).free
