"""Windows: calendar periods over daylight saving, fixed lengths, rolling lengths in slots, and the one that never ends."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import astuple

from services.provider import windows
from services.provider.windows import EPOCH, FOREVER, Kind, Period, Rule, UnknownTimeZoneError, Window, window_at

moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
# Havana, Beirut, Cairo, Sao Paulo skip or repeat midnight; Apia skipped a day; Lord Howe shifts half an hour;
# Toronto fell back at 00:01
HARD_ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Africa/Cairo", "America/Sao_Paulo",
    "Pacific/Apia", "Australia/Lord_Howe", "America/Toronto", "Asia/Kathmandu", "Pacific/Kiritimati",
)  # fmt: skip
zones = st.sampled_from(HARD_ZONES) | st.sampled_from(sorted(available_timezones()))
rules = st.one_of(
    st.builds(Rule, st.just(Kind.CALENDAR), st.sampled_from(Period), zones),
    st.builds(
        lambda kind, seconds, anchor: Rule(kind, length=timedelta(seconds=seconds), anchor=anchor),
        st.sampled_from([Kind.FIXED, Kind.ROLLING]),
        st.integers(60, 10**8),
        moments,
    ),
    st.just(Rule(Kind.LIFETIME)),
)


@given(moments, st.sampled_from(Period), zones)
@example(datetime(2011, 12, 30, 9, 59, tzinfo=UTC), Period.DAY, "Pacific/Apia")  # the eve of the day that never was
@example(datetime(2001, 10, 28, 4, 30, tzinfo=UTC), Period.DAY, "America/Toronto")  # the local date went back by a day
@example(datetime(2025, 11, 2, 4, 30, tzinfo=UTC), Period.DAY, "America/Havana")  # between two midnights
@example(datetime(2018, 11, 4, 3, 0, tzinfo=UTC), Period.DAY, "America/Sao_Paulo")  # a day without midnight
def test_periods_hold_their_moment_and_touch(moment: datetime, period: Period, zone: str) -> None:
    """Every instant lies in exactly one period: its window holds it, and the windows beside it begin and end where it does."""
    window = window_at(moment, period, zone)
    assert window.start <= moment < window.end
    assert window_at(window.start, period, zone) == window
    assert window_at(window.end - timedelta(microseconds=1), period, zone) == window
    assert window_at(window.end, period, zone).start == window.end


@given(st.lists(moments, min_size=2, max_size=5), st.sampled_from(Period), zones)
def test_the_window_of_before_stands_only_for_what_it_holds(several: list[datetime], period: Period, zone: str) -> None:
    """In whatever order they are asked for: each gets its own, also at the very ends of another one's."""
    rule = Rule(Kind.CALENDAR, period, zone)
    ends = [end for moment in several for end in astuple(window_at(moment, period, zone)) if end is not None]
    for moment in [*several, *ends, *reversed(several)]:
        assert rule.window_at(moment) == window_at(moment, period, zone)


@pytest.mark.parametrize("zone", HARD_ZONES)
def test_every_day_of_ten_years_begins_at_its_first_instant(zone: str) -> None:
    """Walking from end to start: one microsecond before a day it is another local date, unless clocks went back over midnight."""
    place, moment = ZoneInfo(zone), datetime(2018, 1, 1, 12, tzinfo=UTC)
    for _ in range(3650):
        window = window_at(moment, Period.DAY, zone)
        before = (window.start - timedelta(microseconds=1)).astimezone(place).date()
        assert before < window.start.astimezone(place).date()
        moment = window.end


@pytest.mark.parametrize(
    ("moment", "period", "zone", "start", "end"),
    [
        ("2026-03-29T10:00+00:00", Period.DAY, "Europe/Berlin", "2026-03-28T23:00+00:00", "2026-03-29T22:00+00:00"),
        ("2026-10-25T10:00+00:00", Period.DAY, "Europe/Berlin", "2026-10-24T22:00+00:00", "2026-10-25T23:00+00:00"),
        ("2026-11-22T10:00+00:00", Period.WEEK, "UTC", "2026-11-16T00:00+00:00", "2026-11-23T00:00+00:00"),
        ("2026-10-31T23:30+00:00", Period.MONTH, "Europe/Berlin", "2026-10-31T23:00+00:00", "2026-11-30T23:00+00:00"),
        ("2026-12-31T23:59+00:00", Period.MONTH, "UTC", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("2018-11-04T12:00+00:00", Period.DAY, "America/Sao_Paulo", "2018-11-04T03:00+00:00", "2018-11-05T02:00+00:00"),
    ],
)
def test_known_periods(moment: str, period: Period, zone: str, start: str, end: str) -> None:
    """Days of 23 and 25 hours, ISO weeks, the turn of a year, a midnight that did not exist; worked out by hand."""
    expected = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    assert window_at(datetime.fromisoformat(moment), period, zone) == expected


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "Europe/berlin/x", "../etc/passwd", "/etc/passwd"])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    """Unknown names, folders of the database and paths out of it."""
    with pytest.raises(UnknownTimeZoneError):
        windows.zone(name)


@given(rules, moments)
def test_every_moment_is_booked_in_a_slot_of_its_window(rule: Rule, moment: datetime) -> None:
    """The slot lies in the window that counts at that moment, whatever the kind; only rolling windows have more than one slot."""
    window = rule.window_at(moment)
    assert window.holds(moment)
    assert window.holds(window.booked)
    assert rule.rolling or window.booked == window.start
    assert rule.counting(moment, moment).booked == window.booked


@given(moments, st.integers(60, 10**8), moments)
def test_fixed_windows_touch_and_one_begins_at_the_anchor(moment: datetime, seconds: int, anchor: datetime) -> None:
    """Each has the length; one ends where the next begins; the anchor begins one, also when it lies ahead."""
    rule = Rule(Kind.FIXED, length=timedelta(seconds=seconds), anchor=anchor)
    window = rule.window_at(moment)
    assert window.end - window.start == timedelta(seconds=seconds)
    assert rule.window_at(window.end).start == window.end
    assert rule.window_at(anchor).start == anchor


@given(moments, st.integers(60, 10**8), st.floats(0, 1.2))
def test_a_rolling_window_forgets_nothing_early_and_everything_within_a_slot(moment: datetime, seconds: int, age: float) -> None:
    """What is younger than the length counts; what is older than the length and one slot does not."""
    rule = Rule(Kind.ROLLING, length=timedelta(seconds=seconds))
    then = moment - timedelta(seconds=seconds) * age
    counted = rule.counting(then, moment).holds(rule.window_at(then).booked)
    if moment - then <= rule.length:
        assert counted
    if moment - then > rule.length + rule.slot_length:
        assert not counted


def test_a_lifetime_has_one_window() -> None:
    """It holds every moment."""
    assert Rule(Kind.LIFETIME).window_at(datetime(2026, 1, 1, tzinfo=UTC)) == Window(EPOCH, FOREVER)


@given(moments, zones)
def test_a_year_begins_with_its_first_of_january(moment: datetime, zone: str) -> None:
    """Also where clocks change at the turn of the year."""
    window = window_at(moment, Period.YEAR, zone)
    assert window.holds(moment)
    assert window == window_at(window.end - timedelta(microseconds=1), Period.YEAR, zone)
