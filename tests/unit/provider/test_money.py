"""Money: exact in nano units, google.type.Money's sign rules, decimals without rounding."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import money
from services.provider.money import MoneyError

amounts = st.integers(min_value=-money.LARGEST, max_value=money.LARGEST)


@given(amounts)
def test_parts_keep_the_amount_and_the_sign_rules(amount: int) -> None:
    """Both parts carry the amount's sign, nanos stay below one unit, and nothing is lost on the way back."""
    units, nanos = money.to_parts(amount)
    assert abs(nanos) < money.NANOS
    assert units * nanos >= 0
    assert money.from_parts(units, nanos) == amount


@given(st.lists(amounts, max_size=20))
def test_sums_are_exact(values: list[int]) -> None:
    """Adding nano units is adding decimals, with no rounding anywhere."""
    total = sum(values)
    exact = sum((Decimal(value).scaleb(-9) for value in values), Decimal(0))
    assert Decimal(total) == exact.scaleb(9)


@pytest.mark.parametrize(("units", "nanos"), [(1, -1), (-1, 1), (0, money.NANOS), (0, -money.NANOS), (5, 2 * money.NANOS)])
def test_parts_of_different_signs_or_too_many_nanos_are_refused(units: int, nanos: int) -> None:
    """What google.type.Money forbids is no amount."""
    with pytest.raises(MoneyError):
        money.from_parts(units, nanos)


@given(amounts)
def test_an_amount_written_for_people_reads_back(amount: int) -> None:
    """`show` and `parse` are each other's inverse."""
    assert money.parse(money.show(amount)) == amount


@pytest.mark.parametrize("text", ["", "a", 0.25, None, "0.0000000001", "NaN", "Infinity", "1,5"])
def test_what_is_no_amount_of_nano_units_is_refused(text: object) -> None:
    """Nothing is rounded silently."""
    with pytest.raises(MoneyError):
        money.parse(text)


def test_a_price_of_fractions_of_a_cent_is_exact() -> None:
    """The worked example of the docstring: $0.075 is 75,000,000 nano units."""
    assert money.parse("0.075") == 75_000_000
    assert money.show(1_500_000_000) == "1.50"


@given(amounts, amounts)
def test_a_saturating_sum_never_leaves_what_can_be_stored(left: int, right: int) -> None:
    """The counter of a budget stands still at the largest amount instead of overflowing."""
    assert money.saturating_sum(left, right) == min(left + right, money.LARGEST)
