"""Labels: what covers what, what may be a label, and the forms in which they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.labels import LabelError, Labels, checked, from_text, joined, parse_filter

names = st.sampled_from(["provider", "model", "user", "team", "key"])
sets = st.dictionaries(names, st.sampled_from(["a", "b", ""]))


@given(sets, sets)
def test_a_scope_covers_usage_that_has_all_its_labels(scope: dict[str, str], usage: dict[str, str]) -> None:
    """Each label given must match; one not given, or given as nothing, does not restrict."""
    expected = all(not value or usage.get(name) == value for name, value in scope.items())
    assert Labels.of(scope).covers(Labels.of(usage)) == expected


@given(sets)
def test_labels_have_one_form(given_: dict[str, str]) -> None:
    """Sets that are equal have the same text, whatever order they were said in; the text gives them back."""
    labels = Labels.of(given_)
    assert Labels.of(dict(reversed(given_.items()))).text == labels.text
    assert from_text(labels.text) == labels
    assert labels.further.keys() | {name for name in ("provider", "model", "user") if labels.get(name)} == labels.values.keys()


@pytest.mark.parametrize(
    ("given_", "name"),
    [
        ({"Team": "red"}, "Team"),
        ({"day": "monday"}, "day"),
        ({"team": "two words"}, "team"),
        ({"team": ""}, "team"),
        ({"team": "x" * 129}, "team"),
        ({"team": "=1+1"}, "team"),
        ({"a": "1", "b": "1", "c": "1"}, "c"),
    ],
)
def test_what_cannot_be_a_label_is_named(given_: dict[str, str], name: str) -> None:
    """Names, reserved names, values, lengths and numbers out of bounds."""
    with pytest.raises(LabelError) as raised:
        checked(given_, most=2, longest=128)
    assert raised.value.name == name


def test_provider_model_and_user_do_not_count_among_the_most() -> None:
    """They stand in columns of their own."""
    full = {"provider": "p", "model": "m", "user": "u", "a": "1", "b": "1"}
    assert checked(full, most=2, longest=128).values == full


def test_a_field_and_the_map_may_not_contradict_each_other() -> None:
    """The same twice is fine, two things are refused by name."""
    assert joined({"user": "ada", "model": ""}, {"user": "ada", "team": "red"}) == {"user": "ada", "team": "red"}
    with pytest.raises(LabelError) as raised:
        joined({"user": "ada"}, {"user": "bob"})
    assert raised.value.name == "user"


def test_filters_of_a_query() -> None:
    """name=value, where a value may hold further signs; a name twice is refused."""
    assert parse_filter(["team=red", "key=a=b"]) == {"team": "red", "key": "a=b"}
    for wrong in (["team"], ["team=red", "team=blue"]):
        with pytest.raises(LabelError):
            parse_filter(wrong)
