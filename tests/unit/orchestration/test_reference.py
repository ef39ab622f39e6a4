"""References in a node's input: what they give, what they refuse, and how far an input may grow."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestration import reference
from services.orchestration.reference import InputTooLarge, MalformedReference, MissingValue, Resolver

SCOPE: dict[str, Any] = {
    "nodes": {"start": {"output": {"id": "s1", "score": 0.5, "cards": [{"id": 7}, {"id": 8}], "empty": "", "none": None}}},
    "input": {"userId": "ada", "n": 3, "yes": True},
    "run": {"id": "r1"},
}


def _resolve(value: Any) -> Any:
    return Resolver(SCOPE, 1000).resolve(value)


@pytest.mark.parametrize(
    ("given_text", "value"),
    [
        ("${nodes.start.output.id}", "s1"),
        ("${nodes.start.output.score}", 0.5),
        ("${nodes.start.output.cards[1].id}", 8),
        ("${nodes.start.output.cards}", [{"id": 7}, {"id": 8}]),
        ("${input.yes}", True),
        ("for ${input.userId}: ${input.n}", "for ada: 3"),
        ("${input.yes}!", "true!"),
        ("c=${nodes.start.output.cards}", 'c=[{"id":7},{"id":8}]'),
        ("$${input.n}", "${input.n}"),
        ("$5 and $x", "$5 and $x"),
        ("${input.gone:-7}", 7),
        ("${input.gone:-python}", "python"),
        ("${input.gone:-}", ""),
        ("${nodes.start.output.empty:-none yet}", "none yet"),
        ("${nodes.start.output.none:-[1, 2]}", [1, 2]),
        ("${nodes.start.output.empty}", ""),
    ],
)
def test_a_reference_gives_its_value(given_text: str, value: Any) -> None:
    """A lone reference keeps its value's type, an embedded one becomes text, a default stands in for nothing."""
    assert _resolve({"deep": [given_text]}) == {"deep": [value]}


@pytest.mark.parametrize(
    "text",
    [
        "${}",
        "${nodes}",
        "${nodes.start}",
        "${nodes.start.input.x}",
        "${env.HOME}",
        "${input.a b}",
        "${input.a",
        "${input.{}}",
        "${1+1}",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """Nothing is guessed: an unreadable reference is an error when the DAG is given."""
    with pytest.raises(MalformedReference):
        reference.find(text)


@pytest.mark.parametrize(
    "text", ["${input.gone}", "${nodes.start.output.cards[9].id}", "${nodes.start.output.id.more}", "${nodes.x.output}"]
)
def test_a_missing_value_without_default_is_an_error(text: str) -> None:
    """A node must not run with less than its author meant."""
    with pytest.raises(MissingValue, match="has no value"):
        _resolve(text)


def test_inputs_cannot_grow_without_end() -> None:
    """Answers put into answers could double with every node: what references add is bounded."""
    with pytest.raises(InputTooLarge):
        Resolver({"input": {"a": "x" * 600}}, 1000).resolve(["${input.a}", "and ${input.a}"])


def test_without_references_keeps_what_is_known() -> None:
    """Before a run an input is checked as far as it is known: unknown fields become null, unknown items go."""
    value = {"a": "${input.x}", "b": ["${input.x}", 1], "c": {"d": "see ${run.id}", "e": "$${x}"}}
    assert reference.without_references(value) == {"a": None, "b": [1], "c": {"d": None, "e": "${x}"}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(string.printable, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_value_comes_through_a_reference_unchanged(value: Any) -> None:
    """A whole-value reference is the value, whatever it is."""
    resolver = Resolver({"input": {"v": value}}, 10_000)
    assert resolver.resolve({"x": ["${input.v}"]}) == {"x": [value]}


@given(json_values)
def test_input_without_references_is_left_alone(value: Any) -> None:
    """Resolution changes nothing but references and their escapes."""
    if "${" in str(value):
        return
    assert Resolver({}, 0).resolve(value) == value


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text breaks the reader; escaping every "${" makes any text plain."""
    try:
        reference.find(text)
    except MalformedReference:
        assert "${" in text
    assert Resolver({}, 0).resolve(text.replace("$", "").replace("{", "")) == text.replace("$", "").replace("{", "")
