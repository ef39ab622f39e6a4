"""Streaks: the rules over days, and a count that agrees with a slow one."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learning.streak import DAY, Streak, streak

TODAY = date(2026, 11, 22)
days_ago = st.sets(st.integers(-3, 40))


def on(*ago: int) -> list[date]:
    """Days so long before today."""
    return [TODAY - timedelta(days=days) for days in ago]


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        ((), Streak(0, 0, False)),
        ((0,), Streak(1, 1, True)),
        ((1,), Streak(1, 1, False)),
        ((2,), Streak(0, 1, False)),
        ((0, 1, 2), Streak(3, 3, True)),
        ((1, 2, 3), Streak(3, 3, False)),
        ((0, 2, 3, 4), Streak(1, 3, True)),
        ((0, 0, 1, 1), Streak(2, 2, True)),
        ((-1, 0), Streak(1, 1, True)),
    ],
)
def test_the_rules(ago: tuple[int, ...], expected: Streak) -> None:
    """Today may still be empty; a whole day may not; a day counts once; days to come do not."""
    assert streak(on(*ago), TODAY) == expected


@given(days_ago)
def test_it_agrees_with_counting_by_hand(ago: set[int]) -> None:
    """Walking back from today (or yesterday) day by day gives the same current streak."""
    active = set(on(*ago))
    day = TODAY if TODAY in active else TODAY - DAY
    count = 0
    while day in active:
        count, day = count + 1, day - DAY
    found = streak(active, TODAY)
    assert found.current_days == count
    assert found.longest_days >= found.current_days


@given(days_ago)
def test_training_today_never_shortens_it(ago: set[int]) -> None:
    """One more active day adds to the streak or leaves it."""
    before, after = streak(on(*ago), TODAY), streak(on(0, *ago), TODAY)
    assert after.current_days == before.current_days + (0 if before.active_today else 1)
    assert after.longest_days >= before.longest_days
