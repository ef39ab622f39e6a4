"""Rust's `use` trees written out: `a::{b, c::{d, self}}` is a::b, a::c::d and a::c."""

from collections.abc import Iterator


def expand(tree: str) -> list[str]:
    """Every path of a use tree, without aliases; a text that is no use tree gives what can be read of it."""
    return [path for path in _paths("", tree) if path]


def _paths(prefix: str, tree: str) -> Iterator[str]:
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if brace:
        for branch in _branches(rest.rpartition("}")[0]):
            yield from _paths(prefix + "".join(head.split()), branch)
        return
    path = tree.split(" as ")[0].strip()
    yield prefix.removesuffix("::") if path == "self" and prefix else prefix + path


def _branches(text: str) -> Iterator[str]:
    """Splits at the commas outside of braces."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    if text[start:].strip():
        yield text[start:]
