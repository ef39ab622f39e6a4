"""Which events a filter wants."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tooloo.event.v1.event_pb2 import Event

from bus.filters import ExpressionError, Failed, Filter, Verdict, matches
from tests.integration.bus_bench import event, number_of


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "budget.threshold_exceeded", True),
        ("budget.*", "budget.threshold_exceeded", True),
        ("budget.*", "budget", False),
        ("budget.*", "budget.", False),
        ("budget.*", "budgets.changed", False),
        ("provider.*", "provider.query.started", True),
        ("provider.query.*", "provider.selected", False),
        ("provider.selected", "provider.selected", True),
        ("provider.selected", "provider.selected2", False),
    ],
)
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    """A star stands for the rest of the name; anything else is exact."""
    assert matches(pattern, name) is expected


def test_an_empty_filter_wants_everything() -> None:
    """Parts that are not given do not restrict."""
    empty = Filter()
    assert empty.every_type
    assert empty.by_type_alone
    assert empty.wants_type("a.b", "x")
    assert empty.wants("y", {})


def test_all_parts_must_match() -> None:
    """Types and sources are one part, for both are known before a record is opened; subject prefix and attributes the other."""
    chosen = Filter(("a.*",), frozenset({"learning"}), "users/ada/", {"user": "ada"})
    assert not chosen.by_type_alone
    assert chosen.wants_type("a.b", "learning")
    assert not chosen.wants_type("a.b", "provider")
    assert not chosen.wants_type("b.b", "learning")
    assert chosen.wants("users/ada/x", {"user": "ada", "other": "1"})
    assert not chosen.wants("users/bob/x", {"user": "ada"})
    assert not chosen.wants("users/ada/x", {"user": "bob"})
    assert not chosen.wants("users/ada/x", {})


def test_an_expression_is_asked_last() -> None:
    """What the cheap parts pass over cannot fail; what they let through is judged."""
    chosen = Filter(("service.started",), cel="data.pid / 0 == 1")
    assert not chosen.by_type_alone
    assert chosen.judge(1, event(1, kind="stopped")) is Verdict.PASSED_OVER
    assert isinstance(chosen.judge(1, event(1)), Failed)


def test_an_expression_that_does_not_compile_is_found_by_compile() -> None:
    """And by the first judgement, when nobody asked before."""
    chosen = Filter(cel="nope")
    with pytest.raises(ExpressionError):
        chosen.compile()
    with pytest.raises(ExpressionError):
        chosen.judge(1, event(1))


@dataclass(frozen=True)
class Condition:
    """An expression in CEL beside the same in plain Python: True, False, or None where it fails."""

    text: str
    holds: Callable[[int, Event], bool | None]


def both(one: Condition, other: Condition) -> Condition:
    """CEL's &&: false wins over a failure, on either side."""
    return Condition(
        f"({one.text} && {other.text})",
        lambda position, found: _and(one.holds(position, found), other.holds(position, found)),
    )


def either(one: Condition, other: Condition) -> Condition:
    """CEL's ||: true wins over a failure, on either side."""
    return Condition(
        f"({one.text} || {other.text})",
        lambda position, found: _not(_and(_not(one.holds(position, found)), _not(other.holds(position, found)))),
    )


def opposite(one: Condition) -> Condition:
    """CEL's !: a failure stays one."""
    return Condition(f"!({one.text})", lambda position, found: _not(one.holds(position, found)))


def _and(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _not(one: bool | None) -> bool | None:
    return None if one is None else not one


SUBJECTS, USERS = ["a", "a/1", "a/2", "b/1"], ["ada", "bob"]
ATOMS = (
    # only service.started has a pid
    st.integers(0, 5).map(
        lambda n: Condition(f"data.pid > {n}", lambda _, found: number_of(found) > n if found.type == "service.started" else None)
    )
    | st.sampled_from(SUBJECTS).map(lambda p: Condition(f"subject.startsWith('{p}')", lambda _, found: found.subject.startswith(p)))
    | st.integers(0, 5).map(lambda n: Condition(f"position <= {n}", lambda position, _: position <= n))
    | st.just(Condition("'user' in attributes", lambda _, found: "user" in found.attributes))
    | st.sampled_from(USERS).map(
        lambda user: Condition(
            f"attributes.user == '{user}'",
            lambda _, found: found.attributes["user"] == user if "user" in found.attributes else None,
        )
    )
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda parts: st.builds(both, parts, parts) | st.builds(either, parts, parts) | st.builds(opposite, parts),
    max_leaves=6,
)
EVENTS = st.builds(
    lambda number, subject, kind, user: event(number, subject=subject, kind=kind, **({"user": user} if user else {})),
    st.integers(0, 5),
    st.sampled_from(SUBJECTS),
    st.sampled_from(["started", "stopped"]),
    st.sampled_from([*USERS, ""]),
)


@given(
    st.lists(st.sampled_from(["*", "service.*", "service.started", "service.stopped", "budget.*"]), max_size=2),
    st.sets(st.sampled_from(["system", "learning"]), max_size=2),
    st.sampled_from(["", "a", "a/", "b"]),
    st.dictionaries(st.just("user"), st.sampled_from(USERS), max_size=1),
    st.none() | CONDITIONS,
    st.lists(EVENTS, min_size=1, max_size=6),
)
def test_a_filter_says_what_a_naive_one_says(
    types: list[str],
    sources: set[str],
    prefix: str,
    attributes: dict[str, str],
    condition: Condition | None,
    events: list[Event],
) -> None:
    """All parts together, on random events, against a reading of the contract written down without haste."""
    chosen = Filter(tuple(types), frozenset(sources), prefix, attributes, condition.text if condition else "")
    for position, found in enumerate(events, 1):
        plain = (
            (not types or any(name in {"*", "service.*", found.type} for name in types))
            and (not sources or found.source in sources)
            and found.subject[: len(prefix)] == prefix
            and attributes.items() <= dict(found.attributes).items()
        )
        expected = (condition.holds(position, found) if condition else True) if plain else False
        verdict = chosen.judge(position, found)
        assert (None if isinstance(verdict, Failed) else verdict is Verdict.WANTED) is expected, (chosen, verdict)
