"""What the doctor finds: each check by what was seen, and what it says to do."""

import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.doctor import __main__ as doctor
from gateway.doctor import installation, machine, probing
from gateway.doctor.finding import Finding, Level
from gateway.doctor.installation import Folder, Leftover
from gateway.doctor.machine import Disk
from mesh.instance import Instance
from mesh.ports import Taken

GIB = 1024**3
NOW = datetime(2026, 5, 6, tzinfo=UTC)
RUNNING = Instance(7, "1", 3000, "127.0.0.1")


def disk(free: int = 100 * GIB, kind: str = "ext4", syncs: Iterable[float] = (1.0, 2.0)) -> Disk:
    """A disk that is well but for what is given."""
    return Disk(free, 200 * GIB, kind, list(syncs))


def folder(mode: int = 0o700, *, writable: bool = True, exists: bool = True, own: bool = True) -> Folder:
    """A data folder that is well but for what is given."""
    return Folder(Path("/data"), exists, writable, mode, own)


ONE = {
    "a new Python": (machine.python((3, 12, 0)), Level.OK),
    "an old Python": (machine.python((3, 10, 9)), Level.FAULT),
    "a new SQLite": (machine.sqlite("3.40.1"), Level.OK),
    "an old SQLite": (machine.sqlite("3.9.0"), Level.FAULT),
    "an Envoy": (machine.envoy("1.40.0", "envoy version: 1234/1.40.0/Clean"), Level.OK),
    "no Envoy": (machine.envoy("1.40.0", ""), Level.FAULT),
    "another Envoy": (machine.envoy("1.40.0", "envoy version: 1234/1.39.0"), Level.FAULT),
    "fresh stubs": (machine.built("stubs", 2.0, 1.0, "make build"), Level.OK),
    "stale stubs": (machine.built("stubs", 1.0, 2.0, "make build"), Level.WARN),
    "no stubs": (machine.built("stubs", None, 2.0, "make build"), Level.FAULT),
    "room": (machine.space(disk()), Level.OK),
    "little room": (machine.space(disk(GIB)), Level.WARN),
    "no room": (machine.space(disk(0)), Level.FAULT),
    "a small disk that is empty": (machine.space(Disk(3 * GIB, 4 * GIB, "ext4", [])), Level.OK),
    "a local disk": (machine.file_system(disk()), Level.OK),
    "memory": (machine.file_system(disk(kind="tmpfs")), Level.WARN),
    "a network file system": (machine.file_system(disk(kind="nfs4")), Level.FAULT),
    "a quick disk": (machine.sync(disk()), Level.OK),
    "a slow disk": (machine.sync(disk(syncs=[30.0] * 9)), Level.WARN),
    "a disk that stalls": (machine.sync(disk(syncs=[1.0] * 9 + [900.0])), Level.WARN),
    "a disk that lies": (machine.sync(disk(syncs=[0.001] * 9)), Level.WARN),
    "memory that syncs at once": (machine.sync(disk(kind="tmpfs", syncs=[0.001] * 9)), Level.OK),
    "many files": (machine.open_files(65536), Level.OK),
    "few files": (machine.open_files(4096), Level.WARN),
    "hardly any files": (machine.open_files(256), Level.FAULT),
    "a folder of our own": (installation.data_folder(folder()), Level.OK),
    "no folder yet": (installation.data_folder(folder(0o755, exists=False)), Level.OK),
    "a folder that others read": (installation.data_folder(folder(0o755)), Level.WARN),
    "a folder of somebody else": (installation.data_folder(folder(own=False)), Level.WARN),
    "a folder that others write": (installation.data_folder(folder(0o777)), Level.FAULT),
    "a folder that cannot be written": (installation.data_folder(folder(writable=False)), Level.FAULT),
    "short sockets": (installation.sockets(""), Level.OK),
    "long sockets": (installation.sockets("too long"), Level.FAULT),
    "a whole file": (installation.integrity("a.db", []), Level.OK),
    "a damaged file": (installation.integrity("a.db", ["page 3 is bad", "page 4 too"]), Level.FAULT),
}
MANY = {
    "free ports": (installation.ports({3000: "TOOLOO_DOOR_PORT"}, [], None), [Level.OK]),
    "a taken port": (installation.ports({3000: "TOOLOO_DOOR_PORT"}, [Taken(3000, "nginx (pid 5)")], None), [Level.FAULT]),
    "our own ports": (installation.ports({3000: "TOOLOO_DOOR_PORT"}, [Taken(3000, "envoy (pid 9)")], RUNNING), [Level.OK]),
    "good settings": (installation.settings([]), [Level.OK]),
    "bad settings": (installation.settings(["TOOLOO_DOOR_PORT is 0", "and another"]), [Level.FAULT, Level.FAULT]),
    "keys": (installation.keys({Path("a.key"): 0o100600}), [Level.OK]),
    "no keys": (installation.keys({}), [Level.OK]),
    "an open key": (installation.keys({Path("a.key"): 0o100600, Path("b.key"): 0o100640}), [Level.FAULT]),
    "nothing left over": (installation.leftovers([]), [Level.OK]),
    "a leftover": (installation.leftovers([Leftover(5, "bus")]), [Level.WARN]),
    "a good clock": (machine.clock(NOW, 0.2, 0.2, NOW), [Level.OK]),
    "a clock that runs": (machine.clock(NOW, 0.4, 0.2, NOW), [Level.WARN]),
    "files of the future": (machine.clock(NOW, 0.2, 0.2, NOW + timedelta(hours=1)), [Level.WARN]),
    "a clock that was never set": (machine.clock(NOW.replace(year=1970), 0.2, 0.2, None), [Level.FAULT]),
}


@pytest.mark.parametrize("name", ONE)
def test_what_is_seen_has_its_level(name: str) -> None:
    """And whatever is not well says what it means and what to do."""
    found, level = ONE[name]
    assert found.level is level
    assert_is_helpful(found)


@pytest.mark.parametrize("name", MANY)
def test_what_is_seen_many_times_has_its_levels(name: str) -> None:
    """One finding for each thing that is not well, else one that says that all are."""
    findings, levels = MANY[name]
    found = list(findings)
    assert [each.level for each in found] == levels
    for each in found:
        assert_is_helpful(each)


def assert_is_helpful(found: Finding) -> None:
    """A finding says what was seen; what is not well also what it means and what to do."""
    assert found.seen
    assert bool(found.meaning) == bool(found.todo) == (found.level is not Level.OK)


def test_a_misspelt_setting_is_named_with_what_was_meant() -> None:
    """Real settings, those of tests and other programs' variables are left alone."""
    known = {"TOOLOO_DOOR_PORT", "TOOLOO_LOG_LEVEL"}
    environment = ["TOOLOO_DOR_PORT", "TOOLOO_DOOR_PORT", "TOOLOO_TEST_SEED", "TOOLOO_CONFIG", "TOOLOO_DOOR", "PATH", "TOOLOO_XYZ"]
    found = list(installation.unknown_names(environment, known))
    assert [each.seen for each in found] == ["TOOLOO_DOR_PORT", "TOOLOO_XYZ"]
    assert "TOOLOO_DOOR_PORT" in found[0].todo
    assert "docs/settings.md" in found[1].todo
    tables = list(installation.unknown_tables(["doors", "mesh"], {"door", "mesh"}))
    assert [(each.seen, each.todo) for each in tables] == [
        ("[doors] in the settings file", "did you mean [door]? Otherwise remove it")
    ]


def test_the_machine_is_really_looked_at(tmp_path: Path) -> None:
    """Disk, clock, names of settings: what the checks are given is there."""
    measured = probing.disk(tmp_path / "not" / "yet")
    assert measured.total > measured.free > 0
    assert measured.kind
    assert len(measured.syncs) > 3
    assert {"TOOLOO_DOOR_PORT", "TOOLOO_BUS_WAY", "TOOLOO_SYSTEM_LOG_POLL"} <= probing.setting_names()
    assert probing.envoy_says()
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (4e9, 4e9))
    newest = probing.newest_file(tmp_path)
    assert newest is not None
    assert newest.year == 2096


def test_a_leftover_process_is_found_by_the_folder_it_works_on(tmp_path: Path) -> None:
    """One with the same module on another folder is not ours."""
    # a process that is called like the bus and does nothing
    (tmp_path / "bus.py").write_text("import time; time.sleep(600)")
    command = [sys.executable, "-m", "bus"]
    started = [
        subprocess.Popen(command, cwd=tmp_path, env={"TOOLOO_DATA_FOLDER": str(tmp_path / name)}) for name in ("ours", "theirs")
    ]
    try:
        (found,) = probing.leftovers(tmp_path / "ours", None)
        assert found == Leftover(started[0].pid, "bus")
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_port_of_two_settings_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy could not listen on it twice."""
    monkeypatch.setenv("TOOLOO_LEARNING_PORT", "3000")
    (found,) = probing.setting_problems()
    assert "TOOLOO_DOOR_PORT and TOOLOO_LEARNING_PORT are both 3000" in found


def test_a_file_that_is_no_database_any_more_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing of its beginning is left; one that is empty has just been made."""
    monkeypatch.setenv("TOOLOO_DATA_FOLDER", str(tmp_path))
    for name in ("ruined", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.db").write_bytes(b"?" * 5000 * (name == "ruined"))
    (found,) = (each for each in doctor.examine(deep=True) if each.check == "integrity")
    assert (found.level, found.seen) == (Level.FAULT, "ruined/ruined.db is damaged")
