"""Which folders may be indexed."""

from pathlib import Path

import pytest

from services.context.paths import PathNotAllowed, allowed_folder, default_id


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A root with a folder and a way out."""
    (tmp_path / "root" / "repo").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "file").touch()
    (tmp_path / "root" / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    return tmp_path / "root"


@pytest.mark.parametrize("path", [".", "repo", "repo/..", "./repo/../repo"])
def test_inside(base: Path, path: str) -> None:
    """Relative paths begin at the base; ".." is fine as long as it stays inside."""
    assert allowed_folder(path, base, ["."]).is_relative_to(base)


@pytest.mark.parametrize("path", ["..", "../outside", "out", "file", "missing", "/", "/etc", "~", "a\0b", "\udcff", "x" * 5000])
def test_outside(base: Path, path: str) -> None:
    """What leads out, by ".." or by a link, is refused like what does not exist."""
    with pytest.raises(PathNotAllowed):
        allowed_folder(path, base, ["."])


def test_roots(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, relative and home roots count alike; no root allows nothing."""
    outside = base.parent / "outside"
    monkeypatch.setenv("HOME", str(outside))
    assert allowed_folder(str(outside), base, [".", "~"]) == outside
    assert allowed_folder("../outside", base, [str(base.parent)]) == outside
    with pytest.raises(PathNotAllowed):
        allowed_folder(".", base, [])


@pytest.mark.parametrize(
    ("name", "repo_id"),
    [("tooloo", "tooloo"), (".hidden", "hidden"), ("my repo!", "my-repo-"), ("é", "repository"), ("", "repository")],
)
def test_default_id(name: str, repo_id: str) -> None:
    """Every folder has an id that the contract allows."""
    assert default_id(Path("/") / name) == repo_id
