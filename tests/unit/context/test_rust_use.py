"""Rust's use trees written out."""

import pytest

from services.context.rust_use import expand


@pytest.mark.parametrize(
    ("tree", "paths"),
    [
        ("a::b", ["a::b"]),
        ("a::b as c", ["a::b"]),
        ("a::{b, c::{d, self}}", ["a::b", "a::c::d", "a::c"]),
        ("{a, b}", ["a", "b"]),
        ("a::*", ["a::*"]),
        ("a::{}", []),
        ("self", ["self"]),
        ("a::{b", []),
        ("", []),
    ],
)
def test_expand(tree: str, paths: list[str]) -> None:
    """Each branch becomes a path; `self` means the branch's own module."""
    assert expand(tree) == paths
