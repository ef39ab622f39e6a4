"""The language of a file by its name and first line."""

import pytest

from services.context.languages import GRAMMARS, grammar_of, known_languages, language_of


@pytest.mark.parametrize(
    ("name", "head", "language"),
    [
        ("main.py", b"", "python"),
        ("Main.PY", b"", "python"),
        ("view.tsx", b"", "typescript"),
        ("Makefile", b"", "makefile"),
        ("go.mod", b"", "gomod"),
        ("run", b"#!/usr/bin/env python3.11\n", "python"),
        ("run", b"#!/bin/sh -e\n", "bash"),
        ("run", b"#!\n", "text"),
        ("run", b"\xff\xfe", "text"),
        ("notes.unknown", b"#!/bin/sh\n", "text"),
    ],
)
def test_language_of(name: str, head: bytes, language: str) -> None:
    """A known suffix or name decides; only a name without a suffix is judged by its first line."""
    assert language_of(name, head) == language


def test_every_grammar_belongs_to_a_language() -> None:
    """A grammar that no file can reach would be dead weight."""
    reachable = {grammar_of(language, f"x{suffix}") for language in known_languages() for suffix in ("", ".tsx")}
    assert set(GRAMMARS) <= reachable
