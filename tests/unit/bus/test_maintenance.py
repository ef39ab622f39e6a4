"""The command that looks after a log: what it cannot do it says in a line."""

from pathlib import Path

import pytest

from bus import maintenance
from bus.log import Log


@pytest.mark.parametrize(
    "words", [["verify", "nosuch"], ["head", "nosuch"], ["backup", "nosuch", "copy"], ["backup", "log.db", "."]]
)
async def test_a_file_that_cannot_be_opened_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and the exit code says so."""
    monkeypatch.chdir(tmp_path)
    await (await Log.open(Path("log.db"))).close()
    assert maintenance.main(words) == 1
    said = capsys.readouterr()
    assert "unable to open database file" in said.out + said.err
    assert not Path("nosuch").exists()


async def test_a_log_is_not_copied_onto_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under whatever name."""
    log = await Log.open(tmp_path / "log.db")
    await log.close()
    (tmp_path / "other.db").symlink_to(log.path)
    assert maintenance.main(["backup", str(log.path), str(tmp_path / "other.db")]) == 1
    assert "the log itself" in capsys.readouterr().err
