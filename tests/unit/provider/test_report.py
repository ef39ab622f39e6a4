"""Reports: days of a time zone made of quarters of an hour, with nothing lost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.provider.report import QUARTER, Sums, by_day
from services.provider.windows import Period, window_at

sums = st.builds(Sums, st.integers(0, 10**15), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 9))
quarters = st.lists(st.tuples(st.integers(1_700_000, 1_900_000), sums), max_size=40)
zones = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Havana", "Australia/Lord_Howe", "America/St_Johns"])


@given(quarters, zones)
def test_days_add_up_to_everything(found: list[tuple[int, Sums]], zone: str) -> None:
    """Cost, tokens and calls over all days are those that were put in; days are in order and come once."""
    days = by_day(found, zone)
    assert sum((group.sums for group in days), Sums()) == sum((part for _, part in found), Sums())
    assert [group.key for group in days] == sorted({group.key for group in days})


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), zones)
def test_a_day_of_the_report_is_a_day_of_a_budget(moment: datetime, zone: str) -> None:
    """The first and the last quarter of a budget's day carry one date, the quarter after it another, unless clocks went back."""
    window = window_at(moment, Period.DAY, zone)
    first, last, after = (
        int(edge.timestamp() // QUARTER.total_seconds()) for edge in (window.start, window.end - QUARTER, window.end)
    )
    one, two, three = (by_day([(number, Sums(calls=1))], zone)[0].key for number in (first, last, after))
    assert one < three
    assert one == two or window.end - window.start > timedelta(hours=24)
