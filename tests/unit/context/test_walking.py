"""Walking a tree: order, skips, and trees that change or resist while they are read."""

import os
import socket
from pathlib import Path

from services.context.walking import Found, Reason, Skipped, Walk


def _walk(root: Path, *, skip: tuple[str, ...] = (".git",), most: int = 1000) -> list[Found | Skipped]:
    return list(Walk(root, frozenset(skip), most))


def _files(root: Path) -> list[str]:
    return [entry.path for entry in _walk(root) if isinstance(entry, Found)]


def _skips(root: Path) -> dict[str, Reason]:
    return {entry.path: entry.reason for entry in _walk(root) if isinstance(entry, Skipped)}


def _write(root: Path, *paths: str, content: str = "x") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def test_paths_come_in_their_order(tmp_path: Path) -> None:
    """Letters that sort before "/" come before a folder's content: the index is merged in this order."""
    _write(tmp_path, "a/x", "a-b", "a.b", "a0", "A", "é", "a/b/c")
    files = _files(tmp_path)
    assert files == sorted(files) == ["A", "a-b", "a.b", "a/b/c", "a/x", "a0", "é"]


def test_every_skip_has_its_reason(tmp_path: Path) -> None:
    """Nothing is left out silently."""
    _write(tmp_path, "ok", "large", "bad\nname", "ignored/x", ".git/HEAD")
    (tmp_path / "large").write_text("x" * 1001)
    _write(tmp_path, ".gitignore", content="ignored/\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder-link").symlink_to("/etc", target_is_directory=True)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    assert _files(tmp_path) == [".gitignore", "ok"]
    assert _skips(tmp_path) == {
        ".git": Reason.IGNORED,
        "bad�name": Reason.UNUSABLE_NAME,
        "folder-link": Reason.SYMLINK,
        "ignored": Reason.IGNORED,
        "large": Reason.TOO_LARGE,
        "link": Reason.SYMLINK,
        "loop": Reason.SYMLINK,
        "pipe": Reason.NOT_REGULAR,
    }


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    """They are skipped with a name that can be shown."""
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9")).touch()
    assert _skips(tmp_path) == {"caf�": Reason.UNUSABLE_NAME}


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    """Opening one would fail or block."""
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
    finally:
        os.chdir(before)
    assert _skips(tmp_path) == {"s": Reason.NOT_REGULAR}


def test_what_vanishes_on_the_way_is_a_skip(tmp_path: Path) -> None:
    """Files and folders that are deleted between listing and looking do not end the walk."""
    _write(tmp_path, "a", "b/x", "c", "d")
    walk = iter(Walk(tmp_path, frozenset(), 1000))
    assert isinstance(next(walk), Found)
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "c").unlink()
    left = list(walk)
    assert [entry.path for entry in left if isinstance(entry, Found)] == ["d"]
    assert {entry.reason for entry in left if isinstance(entry, Skipped)} == {Reason.VANISHED}


def test_rules_above_the_root_count(tmp_path: Path) -> None:
    """Part of a working tree is read with the ignore files above it and with .git/info/exclude."""
    _write(tmp_path, ".git/HEAD", content="ref: refs/heads/main\n")
    _write(tmp_path, ".git/info/exclude", content="secret\n")
    _write(tmp_path, ".gitignore", content="*.log\n/sub/anchored\n")
    _write(tmp_path, "sub/a.log", "sub/anchored", "sub/deep/anchored", "sub/secret", "sub/keep")
    assert _files(tmp_path / "sub") == ["deep/anchored", "keep"]


def test_rules_around_a_submodule_do_not_reach_into_it(tmp_path: Path) -> None:
    """As in git: a working tree within the tree has rules of its own, whether its folder of git is here or elsewhere."""
    _write(tmp_path, ".git/HEAD", ".git/modules/sub/HEAD", "clone/.git/HEAD", content="ref: refs/heads/main\n")
    _write(tmp_path, ".git/info/exclude", ".gitignore", content="*.log\nbuild/\n")
    _write(tmp_path, ".git/modules/sub/info/exclude", content="secret\n")
    _write(tmp_path, "sub/.git", content="gitdir: ../.git/modules/sub\n")
    _write(tmp_path, "clone/.gitignore", content="/*.tmp\n")
    for folder in ("", "sub/", "clone/", "plain/"):
        _write(tmp_path, f"{folder}a.log", f"{folder}build/b", f"{folder}secret", f"{folder}c.tmp")
    within = {"sub/a.log", "sub/build/b", "sub/c.tmp", "clone/.gitignore", "clone/a.log", "clone/build/b", "clone/secret"}
    assert set(_files(tmp_path)) == {".gitignore", "secret", "c.tmp", "plain/secret", "plain/c.tmp", *within}


def test_an_ignore_file_that_is_a_link_does_not_count(tmp_path: Path) -> None:
    """As in git: it could lead anywhere."""
    _write(tmp_path, "rules", content="*\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    assert _files(tmp_path) == ["rules"]


def test_a_deep_tree_does_not_overflow(tmp_path: Path) -> None:
    """Folders in folders to the length that the system allows."""
    deep = tmp_path
    for _ in range(600):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "f").touch()
    assert _files(tmp_path) == ["d/" * 600 + "f"]


def test_a_folder_whose_ignore_file_cannot_be_looked_at(tmp_path: Path) -> None:
    """The path of a folder fits, the one of an ignore file in it does not; a folder that may only be listed is refused alike."""
    deep = tmp_path
    while (left := 4090 - len(bytes(deep))) > 0:
        deep /= "d" * min(200, max(left - 1, 1))
    deep.mkdir(parents=True)
    _write(tmp_path, "z")
    assert _files(tmp_path) == ["z"]
