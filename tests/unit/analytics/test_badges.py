"""Badge rules: progress never falls, order does not matter, streaks are days in a row, and bad files are named."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import badges
from services.analytics.badges import Condition, Kind, Progress, Rule, RuleError

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHIPPED = Path("services/analytics/badges.toml")
scores = st.lists(st.floats(min_value=0, max_value=1), max_size=30)
days = st.lists(st.integers(min_value=0, max_value=20), max_size=40)


def rule(kind: Kind, **changes: object) -> Rule:
    """A rule of this kind on a field "x"."""
    parts: dict[str, object] = {
        "id": "a",
        "name": "A",
        "description": "",
        "kind": kind,
        "events": ("a.b",),
        "target": 3.0,
        "field": "x",
    }
    return Rule(**{**parts, **changes})  # type: ignore[arg-type]  # the parts are right, mypy sees a dict of objects


def run(one: Rule, events: Sequence[tuple[object, datetime]]) -> list[Progress]:
    """Progress after each event of (value of x, time)."""
    found = [Progress()]
    for value, time in events:
        found.append(badges.advance(one, found[-1], {"x": value}.get, time))
    return found


@pytest.mark.parametrize("kind", Kind)
@given(st.data())
def test_progress_never_falls_and_order_does_not_matter(kind: Kind, data: st.DataObject) -> None:
    """For every kind, the same events in another order end in the same place, by a way that never goes down."""
    events = data.draw(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12).map(lambda d: START + timedelta(days=d))), max_size=30)
    )
    steps = run(rule(kind), events)
    assert [step.value for step in steps] == sorted(step.value for step in steps)
    assert run(rule(kind), data.draw(st.permutations(events)))[-1] == steps[-1]


@given(days)
def test_a_streak_is_the_longest_run_of_days(offsets: list[int]) -> None:
    """Compared with a plain count over the calendar."""
    longest = current = 0
    for day in range(21):
        current = current + 1 if day in offsets else 0
        longest = max(longest, current)
    events = [(1, START + timedelta(days=day)) for day in offsets]
    assert run(rule(Kind.STREAK), events)[-1].value == longest


def test_a_streak_counts_utc_days() -> None:
    """An hour before and an hour after midnight are two days, whatever the zone the time is given in."""
    zone = datetime.fromisoformat("2026-01-01T01:00:00+02:00")
    assert run(rule(Kind.STREAK), [(1, zone), (1, zone + timedelta(hours=2))])[-1].value == 2


@given(st.lists(st.sampled_from("abcde"), max_size=30))
def test_distinct_counts_different_values(found: list[str]) -> None:
    """The same value again changes nothing."""
    assert run(rule(Kind.DISTINCT), [(value, START) for value in found])[-1].value == len(set(found))


@given(scores)
def test_max_is_the_largest_value(found: list[float]) -> None:
    """And it starts at zero."""
    assert run(rule(Kind.MAX), [(value, START) for value in found])[-1].value == max(found, default=0)


@pytest.mark.parametrize("unusable", [None, "text", float("nan"), float("inf")])
def test_a_value_that_is_no_number_does_not_count_for_max(unusable: object) -> None:
    """A rule on a field of another kind gives no badge by accident."""
    assert run(rule(Kind.MAX), [(unusable, START)])[-1] == Progress()


def test_a_missing_value_does_not_count_as_a_distinct_one() -> None:
    """An event without the field is no new value."""
    assert run(rule(Kind.DISTINCT), [(None, START), ("", START)])[-1] == Progress()


def test_a_badge_is_reached_at_its_target() -> None:
    """Not before, and for every value after."""
    one = rule(Kind.COUNT)
    assert [step.reached(one) for step in run(one, [(1, START)] * 4)] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("op", "value", "holds"),
    [(">=", 0.5, True), (">", 0.5, False), ("==", 0.5, True), ("!=", "a", True), ("<", "a", False), ("<=", 1, True)],
)
def test_conditions_compare(op: str, value: object, holds: bool) -> None:
    """A field of another kind never compares as more or less; a missing one never holds."""
    assert Condition("x", op, value).holds({"x": 0.5}.get) is holds
    assert Condition("y", op, value).holds({"x": 0.5}.get) is False
    assert str(Condition("x", op, value)) == f"x {op} {value}"


def test_all_conditions_must_hold() -> None:
    """One that does not is enough."""
    conditions = (Condition("x", ">", 1), Condition("y", "==", "z"))
    assert rule(Kind.COUNT, conditions=conditions).matches({"x": 2, "y": "z"}.get)
    assert not rule(Kind.COUNT, conditions=conditions).matches({"x": 2, "y": "a"}.get)


def test_the_shipped_rules_are_rules() -> None:
    """The file that ships has the badges that the issue names."""
    rules = {one.id: one for one in badges.parse(SHIPPED.read_text(encoding="utf-8"))}
    assert {"first-training", "ten-rounds", "hundred-rounds", "week-streak", "skilled", "night-owl"} <= rules.keys()
    assert rules["skilled"].fields == ["user_id", "after.level"]
    assert rules["night-owl"].fields == ["user_id"]


RULE = '[[badge]]\nid="a"\nname="A"\ndescription="D"\nkind="count"\nevents=["a.b"]\ntarget=1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[badge", "not valid TOML"),
        ("badge = 1", "table of its own"),
        (RULE + RULE, "stands twice"),
        (RULE.replace('kind="count"', 'kind="often"'), "'a'"),
        (RULE.replace("target=1", ""), "needed are"),
        (RULE.replace("target=1", "target=0"), "above zero"),
        (RULE.replace("target=1", "target=nan"), "above zero"),
        (RULE.replace('["a.b"]', '"a.b"'), "list of event types"),
        (RULE.replace('kind="count"', 'kind="max"'), "needs a field"),
        (RULE + 'colour="red"\n', "unknown key 'colour'"),
        (RULE + 'where=[{field="x", op="~", value=1}]\n', "compares with '~'"),
        (RULE + "where=[1]\n", "needed are"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(text: str, message: str) -> None:
    """The error says which badge and what would be right."""
    with pytest.raises(RuleError, match=message):
        badges.parse(text)


def test_a_file_without_badges_is_no_error() -> None:
    """Some installations want none."""
    assert badges.parse("") == []
