"""Budgets: calendar periods over daylight saving, thresholds told once, scopes by label."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.provider import budget
from services.provider.budget import Budget, Labels, Mode, Period, Standing, UnknownTimeZoneError, Window, window_at

moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
# Havana, Beirut, Cairo, Sao Paulo skip or repeat midnight; Apia skipped a day; Lord Howe shifts half an hour;
# Toronto fell back at 00:01
HARD_ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Africa/Cairo", "America/Sao_Paulo",
    "Pacific/Apia", "Australia/Lord_Howe", "America/Toronto", "Asia/Kathmandu", "Pacific/Kiritimati",
)  # fmt: skip
zones = st.sampled_from(HARD_ZONES) | st.sampled_from(sorted(available_timezones()))
labels = st.builds(Labels, st.sampled_from(["", "a", "b"]), st.sampled_from(["", "m", "n"]), st.sampled_from(["", "ada", "bob"]))


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
        budget.zone(name)


@given(
    st.lists(st.integers(0, 400), max_size=30),
    st.lists(st.integers(1, 200), min_size=1, max_size=6, unique=True),
    st.integers(1, 1000),
    st.data(),
)
def test_each_threshold_is_told_exactly_once_whatever_the_steps(
    costs: list[int], thresholds: list[int], limit: int, data: st.DataObject
) -> None:
    """For any sequence of charges, forgetful restarts in between included: told = reached, each once, ascending within a charge."""
    one = Budget("b", limit, thresholds=tuple(sorted(thresholds)))
    spent, noted, heard = 0, set[int](), list[int]()
    for cost in costs:
        spent += cost
        new = budget.newly_reached(one, spent, frozenset(noted))
        assert new == sorted(new)
        noted.update(new)
        heard += new
        if data.draw(st.booleans()):
            noted = set(noted)  # what survives a restart is what was noted
    assert sorted(heard) == [percent for percent in one.thresholds if spent * 100 >= limit * percent]


@given(st.integers(1, 10**18), st.integers(0, 10**18), st.integers(1, 1000))
def test_reaching_is_exact_in_integers(limit: int, spent: int, percent: int) -> None:
    """One nano unit decides, also where floating point would round."""
    least = -(-limit * percent // 100)
    assert budget.reached(limit, spent, percent) == (spent >= least)


@given(labels, labels)
def test_a_scope_covers_usage_that_has_all_its_labels(scope: Labels, usage: Labels) -> None:
    """Each label given must match; one not given does not restrict."""
    pairs = ((scope.provider_id, usage.provider_id), (scope.model, usage.model), (scope.user_id, usage.user_id))
    assert scope.covers(usage) == all(wanted in ("", given) for wanted, given in pairs)


@given(st.integers(1, 1000), st.integers(0, 2000), st.integers(0, 1000))
def test_a_denying_budget_lets_nothing_pass_its_limit(limit: int, spent: int, cost: int) -> None:
    """What it allows never takes it over its limit, and once spent it allows nothing, not even what is free."""
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    standing = Standing(Budget("b", limit, mode=Mode.DENY), window, spent)
    assert standing.allows(cost) == (spent < limit and spent + cost <= limit)
    assert standing.remaining == max(limit - spent, 0)
    assert Standing(Budget("b", limit), window, spent).allows(cost)


def test_pressure_grows_with_the_threshold() -> None:
    """Below `tight_from` nothing changes; from there cost counts `factor` times, from 100 % its square."""
    steps = [budget.cost_pressure(percent, tight_from=80, factor=2.0) for percent in (0, 79, 80, 99, 100, 150)]
    assert steps == [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]
