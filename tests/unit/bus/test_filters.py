"""Which events a filter wants."""

import pytest

from bus.filters import Filter, matches


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
    assert empty.only_types
    assert empty.wants_type("a.b")
    assert empty.wants("x", "y", {})


def test_all_parts_must_match() -> None:
    """Source, subject prefix and attributes are a conjunction."""
    chosen = Filter(("a.*",), frozenset({"learning"}), "users/ada/", {"user": "ada"})
    assert not chosen.only_types
    assert chosen.wants("learning", "users/ada/x", {"user": "ada", "other": "1"})
    assert not chosen.wants("provider", "users/ada/x", {"user": "ada"})
    assert not chosen.wants("learning", "users/bob/x", {"user": "ada"})
    assert not chosen.wants("learning", "users/ada/x", {"user": "bob"})
    assert not chosen.wants("learning", "users/ada/x", {})
