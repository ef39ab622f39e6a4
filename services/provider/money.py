"""Amounts of money as integer nano units: exact sums, and the two-part form of google.type.Money."""

from decimal import Decimal, InvalidOperation

NANOS = 10**9
# the currency of the price lists, hence of the ledger and of every budget
CURRENCY = "USD"
# what a signed 64-bit column holds; about 9.2 billion units
LARGEST = 2**63 - 1


class MoneyError(ValueError):
    """An amount that breaks a rule of google.type.Money or cannot be written in nano units."""


def from_parts(units: int, nanos: int) -> int:
    """Nano units of (units, nanos); MoneyError when the signs disagree or nanos leave -999,999,999..999,999,999."""
    if abs(nanos) >= NANOS:
        raise MoneyError("nanos must lie between -999999999 and 999999999")
    if units * nanos < 0:
        raise MoneyError("units and nanos must have the same sign")
    return units * NANOS + nanos


def to_parts(amount: int) -> tuple[int, int]:
    """(units, nanos) of nano units, both with the amount's sign."""
    units, nanos = divmod(abs(amount), NANOS)
    return (units, nanos) if amount >= 0 else (-units, -nanos)


def parse(text: object) -> int:
    """Nano units of a decimal such as "0.075"; MoneyError when it is no text, no number, or has more than nine decimals."""
    if not isinstance(text, str):
        raise MoneyError(f"{text!r} is not text, so it may be rounded already")
    try:
        amount = Decimal(text).scaleb(9)
        whole = int(amount)
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise MoneyError(f"{text!r} is no decimal number") from error
    if whole != amount:
        raise MoneyError(f"{text!r} has more than nine decimals")
    return whole


def show(amount: int) -> str:
    """The amount as a decimal for people, without trailing zeros but with at least two decimals, e.g. "1.50"."""
    units, nanos = divmod(abs(amount), NANOS)
    decimals = f"{nanos:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{units}.{decimals}"


def saturating_sum(left: int, right: int) -> int:
    """The sum, held at the largest amount that can be stored."""
    return min(left + right, LARGEST)
