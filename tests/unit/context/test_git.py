"""Reading a commit from git's own files, compared with git."""

import subprocess
from pathlib import Path

import pytest

from services.context import git


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with one commit."""
    _git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").touch()
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def _head(folder: Path) -> str:
    return git.head(git.find(folder))


def test_head_of_a_branch(tree: Path) -> None:
    """From any folder of the tree."""
    assert _head(tree) == _head(tree / "sub") == _git(tree, "rev-parse", "HEAD")


def test_packed_detached_and_moved(tree: Path) -> None:
    """A packed reference, a detached HEAD and a new commit are read as git reads them."""
    _git(tree, "pack-refs", "--all")
    assert _head(tree) == _git(tree, "rev-parse", "HEAD")
    _git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    assert _head(tree) == _git(tree, "rev-parse", "HEAD")
    _git(tree, "checkout", "-q", "--detach", "HEAD~1")
    assert _head(tree) == _git(tree, "rev-parse", "HEAD")


def test_another_worktree(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its HEAD is its own, its references are shared."""
    other = tmp_path_factory.mktemp("worktrees") / "other"
    _git(tree, "worktree", "add", "-q", "-b", "side", str(other))
    _git(other, "commit", "-q", "--allow-empty", "-m", "side")
    assert _head(other) == _git(other, "rev-parse", "HEAD") != _head(tree)


def test_no_commit(tmp_path: Path) -> None:
    """A folder outside git, one before its first commit, and one whose HEAD leads out have none."""
    assert git.head(None) == ""
    _git(tmp_path, "init", "-q")
    assert _head(tmp_path) == ""
    (tmp_path / ".git" / "HEAD").write_text("ref: ../../../etc/passwd\n")
    assert _head(tmp_path) == ""
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/a\n")
    (tmp_path / ".git" / "refs" / "heads" / "a").write_text("ref: refs/heads/a\n")
    assert _head(tmp_path) == ""


@pytest.mark.parametrize("name", ["\0\0\0\0", "circle"])
def test_a_folder_that_cannot_be_followed(tree: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Files of NULs are what a power cut leaves of new ones; neither they nor links in a circle end whoever looks."""
    (tree / ".git" / "circle").symlink_to("circle")
    (tree / ".git" / "commondir").write_text(name)
    assert _head(tree)
    other = tmp_path_factory.mktemp("other")
    (other / "circle").symlink_to("circle")
    (other / ".git").write_text(f"gitdir: {name}")
    assert _head(other) == ""
