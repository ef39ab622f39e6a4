"""Changes over the registry file: what they say wins, what they do not say stays, and their order does not matter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.overlay import Change, lay_over

FILE: dict[str, Any] = {
    "tiers": {"t": {}},
    "providers": {
        "acme": {"base_url": "https://a", "key_environment": ["K"], "models": {"big": {"tier": "t"}, "old": {"tier": "t"}}}
    },
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change("acme", "", None, enabled=False), {"acme": (False, "https://a", {"big": True, "old": True})}),
        (Change("acme", "", {"base_url": "https://b"}), {"acme": (True, "https://b", {"big": True, "old": True})}),
        (Change("acme", "", None, deleted=True), {}),
        (Change("acme", "old", None, deleted=True), {"acme": (True, "https://a", {"big": True})}),
        (Change("acme", "big", None, enabled=False), {"acme": (True, "https://a", {"big": False, "old": True})}),
        (Change("acme", "new", {"tier": "t"}), {"acme": (True, "https://a", {"big": True, "old": True, "new": True})}),
        # what the file no longer has cannot be switched
        (Change("gone", "", None, enabled=False), {"acme": (True, "https://a", {"big": True, "old": True})}),
        (Change("gone", "m", {"tier": "t"}), {"acme": (True, "https://a", {"big": True, "old": True})}),
        (Change("acme", "gone", None, enabled=False), {"acme": (True, "https://a", {"big": True, "old": True})}),
    ],
)
def test_a_change(change: Change, expected: dict[str, Any]) -> None:
    """One by one."""
    providers = lay_over(FILE, [change])["providers"]
    assert {
        name: (
            entry.get("enabled", True),
            entry["base_url"],
            {model: row.get("enabled", True) for model, row in entry["models"].items()},
        )
        for name, entry in providers.items()
    } == expected


def test_a_definition_keeps_the_variables_of_the_file() -> None:
    """Where a provider's key stands in the environment is the operator's file to say."""
    assert lay_over(FILE, [Change("acme", "", {"base_url": "https://b"})])["providers"]["acme"]["key_environment"] == ["K"]


CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(["acme", "mine"]),
        st.sampled_from(["", "big", "new"]),
        st.sampled_from([None, {"tier": "t", "base_url": "https://c"}]),
        st.booleans(),
        st.booleans(),
    ),
    unique_by=lambda change: (change.provider_id, change.model),
)


@given(changes=CHANGES, data=st.data())
def test_order_does_not_matter_and_the_file_is_untouched(changes: list[Change], data: st.DataObject) -> None:
    """Rows of a table come in any order."""
    before = repr(FILE)
    assert lay_over(FILE, changes) == lay_over(FILE, data.draw(st.permutations(changes)))
    assert repr(FILE) == before
