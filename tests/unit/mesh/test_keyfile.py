"""The key file: made once, whole, for its owner alone, whoever else starts at the same time."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesh import keyfile
from mesh.settings import SettingError


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    """The second start reads what the first has made; only the owner may read it."""
    path = tmp_path / "data" / "encryption.key"
    assert keyfile.load_or_make(path) == keyfile.load_or_make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["encryption.key"], "no draft stays"


def test_many_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    """Nobody's key replaces another's."""
    path = tmp_path / "encryption.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: keyfile.load_or_make(path), range(32)))
    assert len(keys) == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """It is not replaced: another key would make every connection useless."""
    path = tmp_path / "encryption.key"
    path.write_text("not a key")
    with pytest.raises(SettingError, match=r"encryption\.key"):
        keyfile.load_or_make(path)
    assert path.read_text() == "not a key"
