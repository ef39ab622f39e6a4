"""Notifications: rules as data, texts that cannot mention anybody, and waits that grow within their bounds."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integration import notification
from services.integration.notification import RuleError

SECONDS = st.floats(0.001, 86_400).map(lambda value: timedelta(seconds=value))
JITTER = st.floats(0, 1)


@given(attempt=st.integers(1, 10_000), base=SECONDS, cap=SECONDS, jitter=JITTER)
def test_a_wait_is_within_its_bounds(attempt: int, base: timedelta, cap: timedelta, jitter: float) -> None:
    """Never over the cap, never under half of what the attempt asks for, whatever chance says."""
    wait = notification.backoff(attempt, base, cap, jitter)
    whole = min(cap, base * 2 ** min(attempt - 1, 24)) if attempt <= 24 else cap if base * 2**24 >= cap else base
    assert timedelta() <= wait <= cap
    assert attempt > 24 or wait >= whole / 2 - timedelta(microseconds=1)


@given(attempt=st.integers(1, 50), base=SECONDS, cap=SECONDS, jitter=JITTER)
def test_waits_grow(attempt: int, base: timedelta, cap: timedelta, jitter: float) -> None:
    """With the same chance a later attempt never waits less."""
    assert notification.backoff(attempt + 1, base, cap, jitter) >= notification.backoff(attempt, base, cap, jitter)


def test_the_first_waits_double() -> None:
    """2, 4, 8 ... seconds up to the cap when chance says 1, half of it when it says 0."""
    base, cap = timedelta(seconds=2), timedelta(seconds=10)
    assert [notification.backoff(n, base, cap, 1).total_seconds() for n in (1, 2, 3, 4, 400)] == [2, 4, 8, 10, 10]
    assert [notification.backoff(n, base, cap, 0).total_seconds() for n in (1, 2, 3, 4, 400)] == [1, 2, 4, 5, 5]


def test_a_rule_makes_its_text() -> None:
    """Fields by name, nested ones by path, what is missing stays empty, a dollar sign stays one."""
    (rule,) = notification.read({"a.b": {"text": "$name: ${error.reason} costs $$5 $gone!"}})
    assert rule.message({"name": "x", "error.reason": "y"}) == "x: y costs $5 !"


def test_only_takes_the_events_it_names() -> None:
    """Every field named must have one of its values."""
    (rule,) = notification.read({"a.b": {"text": "t", "only": {"state": ["FAILED", "LOST"], "kind": ["X"]}}})
    assert rule.message({"state": "LOST", "kind": "X"}) == "t"
    assert rule.message({"state": "DONE", "kind": "X"}) is None
    assert rule.message({"state": "LOST"}) is None


def test_only_takes_values_as_toml_writes_them() -> None:
    """true, a number, or one value without a list: each compares with the field as texts show it."""
    (rule,) = notification.read({"a.b": {"text": "t", "only": {"changed": [True], "files": [0, 3], "share": 0.25, "user": "zoe"}}})
    fitting = {"changed": "true", "files": "3", "share": "0.25", "user": "zoe"}
    assert rule.message(fitting) == "t"
    for name, other in {"changed": "false", "files": "30", "share": "0.5", "user": "z"}.items():
        assert rule.message({**fitting, name: other}) is None


@pytest.mark.parametrize("only", ["x", {"state": {"is": "x"}}, {"state": [["x"]]}])
def test_only_that_can_never_hold_is_refused(only: object) -> None:
    """A mistake in the file is told, instead of a rule that is silent for ever."""
    with pytest.raises(RuleError, match=r"a\.b"):
        notification.read({"a.b": {"text": "t", "only": only}})


@given(value=st.text())
def test_a_field_cannot_mention_anybody(value: str) -> None:
    """Slack's control characters never get through, and nothing else changes."""
    (rule,) = notification.read({"a.b": {"text": "$name"}})
    text = rule.message({"name": value})
    assert text is not None
    assert "<" not in text
    assert ">" not in text
    assert text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == value


@pytest.mark.parametrize("table", ["text", {}, {"text": 1}, {"text": "a $ b"}, {"text": "t", "channel": "#x"}])
def test_a_mistake_in_a_rule_is_named(table: Any) -> None:
    """With the event type."""
    with pytest.raises(RuleError, match=r"a\.b"):
        notification.read({"a.b": table})
