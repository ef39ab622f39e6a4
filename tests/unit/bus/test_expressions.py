"""Expressions in CEL over an event: what they see, what is refused when, and that no text can do harm."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tooloo.event.v1.event_pb2 import Event

from bus.expressions import Expression
from bus.filters import ExpressionError, Failed, Verdict
from mesh import contracts
from tests.contracts.samples import event_of

ROOT = Path(__file__).resolve().parents[3]
EVENT = event_of(contracts.catalogue()["training.completed"])
FRAGMENTS = (
    *("data", "data.round_count", "data.mean_score", "data.nope", "type", "subject", "attributes", "time", "position", "event"),
    *("true", "false", "null", "1", "1u", "2.5", "-1", "'a'", 'b"x"', "9223372036854775807", "x", "[", "]", "(", ")", "{", "}"),
    *("&&", "||", "!", "==", "<", "+", "-", "*", "/", "%", "?", ":", ".", ",", " in ", "has(", ".all(x, x)", ".map(x, x)"),
    *(".matches('(')", ".startsWith(", "size(", "timestamp(", "duration(", "int(", "dyn(", "type(", "google.protobuf.Any{}"),
)


@pytest.mark.parametrize(
    "text",
    [
        "id == '018f0000-0000-7000-8000-000000000001'",
        "type == 'training.completed' && event.type == type",
        "source == 'learning' && subject.startsWith('users/')",
        "time > timestamp('2026-01-01T00:00:00Z') && time.getFullYear() == 2026",
        "attributes.user == 'ada' && 'user' in attributes && !('other' in attributes)",
        "correlation_id.endsWith('2') && causation_id.endsWith('3')",
        "position == 42",
        "data.round_count == 5 && data.mean_score == 6.5",
        "data.mean_score > 6 && data.round_count < 5.5",
        "has(data.start_time) && data.start_time <= data.complete_time",
        "type(data) == tooloo.learning.v1.TrainingCompleted",
        "subject.matches('^users/[a-z]+$')",
    ],
)
def test_every_part_of_the_event_can_be_asked_for(text: str) -> None:
    """By the contract's names, `data` as the message it is; numbers of both kinds compare."""
    assert Expression(text).judge(42, EVENT) is Verdict.WANTED
    assert Expression(f"!({text})").judge(42, EVENT) is Verdict.PASSED_OVER


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nope == 1", "line 1, column 1: undeclared reference to 'nope'"),
        ("true &&\n fo", "line 2, column 2: undeclared reference to 'fo'"),
        ("'a' +", "line 1, column 6: Syntax error: mismatched input '<EOF>'"),
        ("position > 1.0", "line 1, column 10: found no matching overload"),
        ("position > 1.0", "write 1.0, or double(x)"),
        ("position", "the expression gives int; it must give true or false"),
        ("(" * 40 + "true" + ")" * 40, "recursion limit"),
    ],
)
def test_what_cannot_filter_is_refused_at_once(text: str, told: str) -> None:
    """With the compiler's message and the place."""
    with pytest.raises(ExpressionError) as refused:
        Expression(text)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data.nope == 1", "no_such_field : nope"),
        ("attributes.nope == 'x'", 'Key not found in map : "nope"'),
        ("data.user_id", "gave string, not true or false"),
        ("data.mean_score * 2 > 1", "int and double do not mix"),
        ("position / 0 == 1", "divide by zero"),
        ("subject.matches('(')", "invalid regular expression"),
        (f"{list(range(120))}.all(x, {list(range(120))}.all(y, x + y >= 0))", "Iteration budget exceeded"),
    ],
)
def test_what_goes_wrong_on_an_event_is_told(text: str, told: str) -> None:
    """As a value, in one line."""
    verdict = Expression(text).judge(1, EVENT)
    assert isinstance(verdict, Failed)
    assert told in verdict.error


def test_data_that_the_contracts_no_longer_have_is_a_failure() -> None:
    """An old event may outlive its message; an expression that does not ask for it does not care."""
    old = Event()
    old.CopyFrom(EVENT)
    old.data.type_url = "type.googleapis.com/tooloo.learning.v1.Gone"
    verdict = Expression("data.user_id == 'x'").judge(1, old)
    assert verdict == Failed("the contracts have no message 'tooloo.learning.v1.Gone'")
    assert Expression("position == 1").judge(1, old) is Verdict.WANTED
    old.data.type_url, old.data.value = EVENT.data.type_url, b"\xff"
    assert isinstance(Expression("data.user_id == 'x'").judge(1, old), Failed)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join)
)
@example("\x00")
@example("")
@example("-9223372036854775808 / -1 == 0")
@example("[1][9223372036854775807] == 1")
@example("{}[data] == 1")
@example("[data, data].map(x, [x, x].map(y, [y, y])) == data")
@example("timestamp('9999-12-31T23:59:59Z') + duration('1s') == time")
def test_no_text_does_harm(text: str) -> None:
    """Whatever is given, it is refused when it is compiled, or answers with one of the three verdicts."""
    with suppress(ExpressionError):
        assert isinstance(Expression(text).judge(1, EVENT), Verdict | Failed)


def test_a_bus_without_expressions_never_loads_the_library() -> None:
    """Its import is paid when the first filter with an expression comes."""
    code = (
        "import sys, bus.__main__; from bus.filters import Filter; assert 'cel_expr_python' not in sys.modules; "
        "Filter(cel='true').compile(); assert 'cel_expr_python' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
