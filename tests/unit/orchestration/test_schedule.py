"""Schedules: fires grow strictly, daylight saving is right, and what was missed is counted."""

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestration import schedule
from services.orchestration.schedule import Cron, Every, InvalidSchedule, Once

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
zones = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC", ""]
)


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    """Any cron expression that fires at least once a year, in zones with all kinds of daylight saving."""
    minute = draw(st.sampled_from(["*", "*/7", "0", "30", "0,15,59", "10-20"]))
    hour = draw(st.sampled_from(["*", "*/2", "0", "1", "2", "1,2,3", "0-4"]))
    day = draw(st.sampled_from(["*", "1", "*/5", "L"]))
    month = draw(st.sampled_from(["*", "3", "10", "MAR,OCT"]))
    weekday = draw(st.sampled_from(["*", "0", "SUN", "MON-FRI", "6L", "0#1"]))
    return Cron(f"{minute} {hour} {day} {month} {weekday}", draw(zones))


schedules = st.one_of(
    crons(),
    st.builds(Every, st.timedeltas(timedelta(seconds=1), timedelta(days=400)), moments),
    st.builds(Once, moments),
)


@pytest.mark.parametrize(
    ("rhythm", "back", "goes_on"),
    [
        (Every(MINUTE, NOON), timedelta(hours=1), True),
        (Every(MINUTE, NOON), timedelta(seconds=59), False),
        (Every(timedelta(hours=2), NOON), timedelta(hours=1), False),
        # made while the clock was a day ahead
        (Every(timedelta(hours=2), NOON + timedelta(days=1)), timedelta(days=1), True),
        (Cron("* * * * *", ""), timedelta(hours=1), True),
        (Cron("0 12 * * *", ""), timedelta(hours=2), False),
        (Cron("0 12 * * *", ""), timedelta(days=1), True),
        (Once(NOON), timedelta(days=1), False),
    ],
)
def test_what_goes_on_after_the_clock_was_set_back(rhythm: schedule.Schedule, back: timedelta, goes_on: bool) -> None:
    """What would rest for longer than from one fire to the next, or than three hours, fires next after now."""
    now = NOON - back
    following = schedule.after_set_back(rhythm, NOON, now)
    assert following == (schedule.next_fire(rhythm, now) if goes_on else None)
    assert following is None or following > now


@given(schedules, moments)
def test_fires_grow_strictly(rhythm: schedule.Schedule, after: datetime) -> None:
    """Every fire is later than the one before and than the moment asked about; asking again from a fire gives the next one."""
    found = list(islice(schedule.fires(rhythm, after), 5))
    for earlier, later in zip([after, *found], found, strict=False):
        assert later > earlier
        assert later.tzinfo is UTC
        assert schedule.next_fire(rhythm, earlier) == later


@given(crons(), moments)
def test_cron_fires_when_the_clock_on_the_wall_says_so(rhythm: Cron, after: datetime) -> None:
    """A fire's local time has a minute that the expression names, or it stands right after a gap that swallowed one."""
    fire = schedule.next_fire(rhythm, after)
    if fire is None:
        return
    local = fire.astimezone(schedule.zone(rhythm.time_zone))
    a_moment_before = (fire - timedelta(hours=2)).astimezone(local.tzinfo)
    jumped = local.utcoffset() != a_moment_before.utcoffset()
    wanted = rhythm.expression.split()[0]
    named = {"*": range(60), "*/7": range(0, 60, 7), "0": [0], "30": [30], "0,15,59": [0, 15, 59], "10-20": range(10, 21)}[wanted]
    assert local.second == 0
    assert local.minute in named or jumped


@pytest.mark.parametrize(
    ("expression", "zone", "after", "fires"),
    [
        # 2026-03-29 02:30 does not exist in Berlin: it fires at 03:00 summer time, once
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        # 2026-10-25 02:30 comes twice in Berlin: it fires the first time only
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        # asked between the two 02:30s, the second is no fire
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45Z", ["2026-10-26T01:30Z"]),
        # what runs every half hour keeps running through the fold
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10Z", ["2026-10-25T00:30Z", "2026-10-25T01:00Z", "2026-10-25T01:30Z"]),
        # two times that the gap folds into one moment fire once
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:30Z", ["2026-03-29T01:00Z", "2026-03-29T01:30Z"]),
        ("0 7 * * *", "America/New_York", "2026-03-07T13:00Z", ["2026-03-08T11:00Z", "2026-03-09T11:00Z"]),
        ("0 0 29 2 *", "", "2026-01-01T00:00Z", ["2028-02-29T00:00Z"]),
        ("0 12 * * MON", "UTC", "2026-11-22T00:00Z", ["2026-11-23T12:00Z"]),
    ],
)
def test_cron_at_changes_of_the_clock(expression: str, zone: str, after: str, fires: list[str]) -> None:
    """The cases that schedulers get wrong, each with its right answer."""
    found = islice(schedule.fires(Cron(expression, zone), datetime.fromisoformat(after)), len(fires))
    assert list(found) == [datetime.fromisoformat(fire) for fire in fires]


@pytest.mark.parametrize(
    ("rhythm", "field"),
    [
        (Cron("61 * * * *", ""), "cron"),
        (Cron("0 0 30 2 *", ""), "cron"),
        (Cron("a b c d e", ""), "cron"),
        (Cron("* * * * *", "Mars/Olympus"), "time_zone"),
        (Cron("* * * * *", "../etc/passwd"), "time_zone"),
        (Cron("* * * * *", "Europe"), "time_zone"),
    ],
)
def test_schedules_that_cannot_be_are_refused(rhythm: Cron, field: str) -> None:
    """The field that is wrong is named."""
    with pytest.raises(InvalidSchedule) as refused:
        schedule.next_fire(rhythm, NOON)
    assert refused.value.field == field


@given(st.from_regex(r"^[A-Za-z0-9*,/#-]{1,12}( [A-Za-z0-9*,/#-]{1,6}){4}\Z"))
def test_any_text_the_contract_lets_through_is_read_or_refused(expression: str) -> None:
    """Rubbish ends as InvalidSchedule, as no fire, or as a fire in the future; never as another error."""
    try:
        fire = schedule.next_fire(Cron(expression, "Europe/Berlin"), NOON)
    except InvalidSchedule:
        return
    assert fire is None or fire > NOON


def test_a_late_single_fire_is_made_and_not_missed() -> None:
    """A task whose time came while the service was down fires once, late."""
    due = schedule.due(Once(NOON), NOON, NOON + MINUTE, make_up=1, count_limit=100)
    assert due == schedule.Due((NOON,), 0, None, None, None)


def test_of_many_missed_fires_the_newest_is_made() -> None:
    """Five were due: the newest is made, four are missed, the next one is after now."""
    rhythm = Every(MINUTE, NOON)
    due = schedule.due(rhythm, NOON + MINUTE, NOON + 5.5 * MINUTE, make_up=1, count_limit=100)
    assert due == schedule.Due((NOON + 5 * MINUTE,), 4, NOON + MINUTE, NOON + 4 * MINUTE, NOON + 6 * MINUTE)


@pytest.mark.parametrize(
    ("rhythm", "newest"),
    [
        (Every(MINUTE, NOON), timedelta(days=300)),
        (Cron("* * * * *", ""), timedelta(days=300)),
        # every minute of June: the newest is long past as well
        (Cron("* * * 6 *", ""), timedelta(days=29, hours=11, minutes=59)),
    ],
)
def test_beyond_what_is_counted_the_newest_is_made(rhythm: schedule.Schedule, newest: timedelta) -> None:
    """The last fire before now, and not the last one that was counted; those told as missed reach up to it."""
    due = schedule.due(rhythm, NOON + MINUTE, NOON + timedelta(days=300, seconds=30), make_up=1, count_limit=10_000)
    assert due.fires == (NOON + newest,)
    assert (due.missed_count, due.first_missed, due.last_missed) == (10_000, NOON + MINUTE, NOON + newest - MINUTE)


@given(schedules, moments, st.timedeltas(timedelta(0), timedelta(days=4)), st.integers(1, 4), st.integers(1, 50))
def test_nothing_due_is_made_twice_or_forgotten(
    rhythm: schedule.Schedule, after: datetime, down: timedelta, make_up: int, limit: int
) -> None:
    """Of all fires from the first to now the newest are made; the others are missed, and counted up to the limit."""
    first = schedule.next_fire(rhythm, after)
    if first is None:
        return
    now = first + down
    due = schedule.due(rhythm, first, now, make_up, limit)
    owed = [first, *takewhile(lambda fire: fire <= now, schedule.fires(rhythm, first))]
    missed = owed[:-make_up]
    assert list(due.fires) == owed[-make_up:]
    assert due.missed_count == min(len(missed), limit)
    assert (due.first_missed, due.last_missed) == ((missed[0], missed[-1]) if missed else (None, None))
    assert due.following == schedule.next_fire(rhythm, now)
