"""Labels have one canonical text, and names of metrics tell lengths of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics import series

labels = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=5)


@given(labels)
def test_the_text_of_labels_does_not_depend_on_their_order(given_labels: dict[str, str]) -> None:
    """The same set of labels is the same series."""
    turned = dict(reversed(given_labels.items()))
    assert series.canonical(given_labels) == series.canonical(turned)
    assert series.parse(series.canonical(given_labels)) == given_labels


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("page_load_ms", 1e-3), ("a_seconds", 1.0), ("b_us", 1e-6), ("c_ns", 1e-9), ("alarms", None), ("ms", None)],
)
def test_a_name_tells_its_unit_of_time(name: str, seconds: float | None) -> None:
    """Only a whole last word counts as a unit."""
    assert series.seconds_per_unit(name) == seconds


def test_labels_are_matched_by_key_and_value() -> None:
    """Every wanted pair must be there; a value may hold an equals sign."""
    assert series.fits({"a": "1", "b": "x=y"}, ["b=x=y", "a=1"])
    assert not series.fits({"a": "1"}, ["a=2"])
    assert not series.fits({"a": "1"}, ["c="])
    assert series.fits({}, [])
