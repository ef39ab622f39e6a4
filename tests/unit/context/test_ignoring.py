"""Ignore rules decide as git does, asked of git itself on random trees."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.context.ignoring import ignored, rules
from services.context.walking import Found, Walk

NAMES = ["a", "b", "c", "ab", "a.d", "*", "a ", "x ", "é", "[a"]
ATOMS = [
    "a", "b", "*", "?", "a*", "*b", "**", "***", "a**", "**a", "[ab]", "[!a]", "[a-c]", "[^b-]", "[]a]", "[c-a]", "[[:alpha:]]",
    "[a", "a.d", "*.d", "\\*", "\\a", "\\", "a ", "x\\ ", "é", "\\[a",
]  # fmt: skip
patterns = st.builds(
    lambda negated, slash, parts, folder: f"{negated}{slash}{'/'.join(parts)}{folder}",
    st.sampled_from(["", "", "!", "#", "\\!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " ", "\r"]),
)
ignore_files = st.lists(patterns, min_size=1, max_size=4).map("\n".join)
trees = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=12)


def _make(root: Path, tree: list[list[str]], contents: list[str]) -> None:
    """Makes the files whose paths do not clash, and an ignore file in the first few folders."""
    folders = [root]
    for parts in tree:
        folder = root.joinpath(*parts[:-1])
        if all(not each.is_file() for each in (folder, *folder.parents)) and not (folder / parts[-1]).exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / parts[-1]).touch()
            folders.append(folder)
    for folder, content in zip(dict.fromkeys(folders), contents, strict=False):
        (folder / ".gitignore").write_text(content)


@settings(max_examples=80)
@given(trees, st.lists(ignore_files, min_size=1, max_size=3))
def test_a_walk_finds_what_git_does_not_ignore(tree: list[list[str]], contents: list[str]) -> None:
    """Of any tree with any ignore files, the walk gives the files that git would let be added."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run(["git", "init", "-q", root], check=True)
        _make(root, tree, contents)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True
        ).stdout.decode()
        found = [entry.path for entry in Walk(root, frozenset({".git"}), 1024) if isinstance(entry, Found)]
        assert found == sorted(filter(None, listed.split("\0")))


@pytest.mark.parametrize(
    ("content", "path", "folder", "expected"),
    [
        (b"build\n", "a/build", True, True),
        (b"/build\n", "a/build", True, False),
        (b"build/\n", "build", False, False),
        (b"*.log\n!keep.log\n", "keep.log", False, False),
        (b"a/**/z\n", "a/z", False, True),
        (b"a/*\n", "a/b/c", False, False),
        (b"\xef\xbb\xbf*.log\r\n", "x.log", False, True),
        (b"# *.log\n\n   \n", "x.log", False, False),
    ],
)
def test_one_pattern(content: bytes, path: str, folder: bool, expected: bool) -> None:
    """The forms of gitignore(5), one by one."""
    made = rules("", content)
    assert ignored(path, folder, [made] if made else []) is expected


def test_the_nearest_file_decides() -> None:
    """A rule of a deeper folder overrides one of a folder above."""
    outer, inner = rules("", b"*.log\n"), rules("a/", b"!x.log\n")
    assert outer
    assert inner
    assert not ignored("a/x.log", False, [outer, inner])
    assert ignored("b/x.log", False, [outer])


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"*a" * 30 + b"b", "a" * 250),
        (b"?*" * 60 + b"b", "a" * 250),
        (b"**/a/" * 12 + b"b", "a/" * 40 + "c"),
        (b"/" + b"**/*a*a*a*/" * 8 + b"z", "aaaaaaaaaa/" * 60 + "c"),
    ],
)
def test_many_stars_are_decided(line: bytes, path: str) -> None:
    """A line of an ignore file, which anybody may write, cannot keep the walk for good; looking everywhere would take years."""
    made = rules("", line + b"\n")
    assert made
    assert not ignored(path, False, [made])
    assert ignored(path[:-1] + chr(line[-1]), False, [made])
