"""A backup is one moment of all files, whole or refused; a restore deletes nothing and leaves nothing half done."""

import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mesh import instance
from mesh.backup import manifest, restoring, snapshot_store, taking

FILES = ("a/a.db", "b/b.db", "c/c.db")
ROWS = 400
# without a sync, so fast that hardly any time passes between two counts: files that are not pinned together show it
COUNTER = """
import sqlite3, sys
connections = [sqlite3.connect(path, isolation_level=None, timeout=30) for path in sys.argv[1:]]
for connection in connections:
    connection.execute("PRAGMA synchronous = OFF")
print("counting", flush=True)
number = 0
while True:
    number += 1
    for connection in connections:
        connection.execute("UPDATE counter SET value = ?", (number,))
"""


def no_matter(done: int, total: int, label: str) -> None:
    """Progress that nobody looks at."""


def no_head(log: Path) -> int:
    """These files hold no log."""
    return 0


def make(folder: Path, size: int = 1) -> list[Path]:
    """Three files of services, each with a counter, a key beside them, and what is of no use elsewhere."""
    paths = [folder / name for name in FILES]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE counter (value INTEGER)")
            connection.execute("INSERT INTO counter VALUES (0)")
            connection.execute("CREATE TABLE rows (value BLOB)")
            connection.executemany("INSERT INTO rows VALUES (zeroblob(?))", [(4000,)] * size)
    (folder / "a" / "encryption.key").write_text("secret")
    for passing in ("log/a.jsonl", "a/owners/one.lock", "a/serving.json"):
        (folder / passing).parent.mkdir(exist_ok=True)
        (folder / passing).write_text("{}")
    return paths


def value(path: Path) -> int:
    """What the counter of a file says."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT value FROM counter").fetchone()[0])


@contextmanager
def counting(paths: list[Path]) -> Iterator[None]:
    """Somebody who counts in the first file, then in the second, then in the third, again and again, as a promise is passed on."""
    process = subprocess.Popen([sys.executable, "-c", COUNTER, *map(str, paths)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def test_all_files_are_of_one_moment(tmp_path: Path) -> None:
    """Each file was counted in before the next one, so in no moment a later one is ahead, nor an earlier one by more than one."""
    paths = make(tmp_path / "var")
    seen: set[int] = set()
    with counting(paths):
        # a moment in which nothing has been counted since the one before proves nothing
        while len(seen) < 75:
            with snapshot_store.one_moment(paths) as moment:
                values = [int(each.execute("SELECT value FROM counter").fetchone()[0]) for each in moment.snapshots]
            first, second, third = values
            assert third <= second <= first <= third + 1, values
            seen.add(first)


def test_what_is_written_during_the_copying_is_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy reads its snapshot to the end, though the source changes between any two of its steps."""
    monkeypatch.setattr(snapshot_store, "_PAGES", 100)
    paths = make(tmp_path / "var", size=ROWS)
    steps = []

    def write_more(done: int, total: int, label: str) -> None:
        steps.append(done)
        for path in paths:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("UPDATE counter SET value = value + 1")
                connection.execute("UPDATE rows SET value = zeroblob(4001)")

    taking.take(tmp_path / "var", tmp_path / "backup", no_head, write_more)
    assert len(steps) > len(FILES)
    for name in FILES:
        assert value(tmp_path / "backup" / "data" / name) == 0
        with closing(sqlite3.connect(tmp_path / "backup" / "data" / name)) as connection:
            assert connection.execute("SELECT count(*) FROM rows WHERE length(value) != 4000").fetchone() == (0,)


def test_without_a_moment_nothing_is_held(tmp_path: Path) -> None:
    """Somebody who writes for ever is told of; the other files can be written by then."""
    first, second, _ = make(tmp_path / "var")
    with closing(sqlite3.connect(second, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(snapshot_store.NoMomentError), snapshot_store.one_moment([first, second], patience=0.1):
            pass
        with closing(sqlite3.connect(first, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("name", ["backup", "backup.tar", "backup.tar.gz"])
def test_what_was_backed_up_is_restored(tmp_path: Path, name: str) -> None:
    """Files and keys, readable by the owner alone; no logs, locks, or what served; what was there is put aside."""
    old, new = tmp_path / "var", tmp_path / "new"
    with counting(make(old)):
        made = taking.take(old, tmp_path / name, no_head, no_matter)
    assert [entry.path for entry in made.files] == ["a/a.db", "a/encryption.key", "b/b.db", "c/c.db"]
    restored = restoring.restore(tmp_path / name, new, no_matter)
    assert restored.aside is None
    assert (new / "a" / "encryption.key").read_text() == "secret"
    assert {path.stat().st_mode & 0o777 for path in new.glob("*/*") if path.is_file()} == {0o600}
    with pytest.raises(restoring.DataThereError):
        restoring.restore(tmp_path / name, new, no_matter)
    (new / "a" / "encryption.key").write_text("younger")
    again = restoring.restore(tmp_path / name, new, no_matter, force=True)
    assert again.aside is not None
    assert (again.aside / "a" / "encryption.key").read_text() == "younger"
    assert (new / "a" / "encryption.key").read_text() == "secret"


def test_a_backup_overwrites_nothing_and_appears_whole(tmp_path: Path) -> None:
    """A target that exists is refused; one that fails on the way leaves nothing."""
    make(tmp_path / "var")
    (tmp_path / "there").mkdir()
    with pytest.raises(taking.NoBackupError, match="never overwrites"):
        taking.take(tmp_path / "var", tmp_path / "there", no_head, no_matter)
    with pytest.raises(taking.NoBackupError, match="holds no data"):
        taking.take(tmp_path / "there", tmp_path / "other", no_head, no_matter)

    def fail(done: int, total: int, label: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        taking.take(tmp_path / "var", tmp_path / "backup", no_head, fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "var"]


def damage(backup: Path, what: str) -> None:
    """Does something to a backup that must be seen."""
    key = backup / "data" / "a" / "encryption.key"
    text = (backup / manifest.FILE).read_text()
    if what == "changed":
        key.write_text("sEcret")
    elif what == "missing":
        key.unlink()
    elif what == "no manifest":
        (backup / manifest.FILE).unlink()
    else:
        change = {
            "newer": ('"migrations": []', '"migrations": ["kit/9999"]'),
            "outside": ("a/encryption.key", "../../elsewhere"),
            "format": ('"format": 1', '"format": 2'),
            "half": (text[len(text) // 2 :], ""),
            "nonsense": ('"migrations": []', '"migrations": ["nonsense"]'),
            "empty": (text[text.index('"files"') :], '"files": []}'),
        }[what]
        (backup / manifest.FILE).write_text(text.replace(*change, 1))


@pytest.mark.parametrize("what", ["changed", "missing", "no manifest", "newer", "outside", "format", "half", "nonsense", "empty"])
def test_a_backup_that_is_not_whole_changes_nothing(tmp_path: Path, what: str) -> None:
    """It is refused before anything is touched, as a folder and as an archive."""
    make(tmp_path / "var")
    backup = tmp_path / "backup"
    taking.take(tmp_path / "var", backup, no_head, no_matter)
    damage(backup, what)
    with tarfile.open(tmp_path / "backup.tar", "w") as archive:
        for path in backup.iterdir():
            archive.add(path, path.name)
    for source in (backup, tmp_path / "backup.tar"):
        with pytest.raises(manifest.BadBackupError):
            restoring.restore(source, tmp_path / "var", no_matter, force=True)
    assert value(tmp_path / "var" / FILES[0]) == 0
    assert not (tmp_path / "var" / "replaced").exists()
    with instance.held(tmp_path / "var", 1, ""):
        pass


def _short_of_room(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The command of a user whose files may have 64 KB, which ends as on a full disk."""
    return subprocess.run(
        ["prlimit", f"--fsize={64 * 1024}", sys.executable, "-m", "mesh.cli", *command],
        env=os.environ | {"TOOLOO_DATA_FOLDER": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("name", "size"), [("backup", 20), ("backup.tar.gz", 20), ("backup.tar", 8)])
def test_without_room_nothing_is_left_behind(tmp_path: Path, name: str, size: int) -> None:
    """Neither of the copy nor of the archive that is made of it; it is said what is missing."""
    make(tmp_path / "var", size)
    ended = _short_of_room(tmp_path / "var", "backup", str(tmp_path / name))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"✗ {tmp_path / name} cannot be written")
    assert "make room" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["var"]


@pytest.mark.parametrize("name", ["backup", "backup.tar.gz"])
def test_without_room_for_its_data_no_backup_is_blamed(tmp_path: Path, name: str) -> None:
    """Nothing is touched, and it is not the backup that cannot be used."""
    make(tmp_path / "var", 20)
    taking.take(tmp_path / "var", tmp_path / name, no_head, no_matter)
    ended = _short_of_room(tmp_path / "var", "restore", "--force", str(tmp_path / name))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"✗ {tmp_path / name} cannot be restored now")
    assert not (tmp_path / "var" / "replaced").exists()
    with instance.held(tmp_path / "var", 1, ""):
        pass


def test_after_a_restore_that_was_cut_off_no_mesh_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the files would be missing; the same restore again makes it whole, and what was there first is still put aside."""
    make(tmp_path / "var")
    taking.take(tmp_path / "var", tmp_path / "backup", no_head, no_matter)
    before = Path.rename
    renamed: list[Path] = []

    def cut_off(self: Path, target: Path) -> Path:
        renamed.append(self)
        if len(renamed) == 5:
            raise KeyboardInterrupt
        return before(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        with pytest.raises(KeyboardInterrupt):
            restoring.restore(tmp_path / "backup", tmp_path / "var", no_matter, force=True)
    with pytest.raises(instance.InUseError, match="interrupted"):
        instance.held(tmp_path / "var", 1, "").__enter__()
    restoring.restore(tmp_path / "backup", tmp_path / "var", no_matter)
    with instance.held(tmp_path / "var", 1, ""):
        assert all(value(tmp_path / "var" / name) == 0 for name in FILES)
    assert len(list((tmp_path / "var" / "replaced").rglob("encryption.key"))) == 2


def test_nothing_is_restored_under_a_running_mesh(tmp_path: Path) -> None:
    """Its processes have the files open."""
    make(tmp_path / "var")
    taking.take(tmp_path / "var", tmp_path / "backup", no_head, no_matter)
    with instance.held(tmp_path / "var", 3000, ""), pytest.raises(instance.InUseError):
        restoring.restore(tmp_path / "backup", tmp_path / "var", no_matter, force=True)


def test_a_file_that_is_no_database_any_more_is_no_backup(tmp_path: Path) -> None:
    """One whose beginning is destroyed is named, not copied as if it were something else; a new one may be empty."""
    _, ruined, _ = make(tmp_path / "var")
    (tmp_path / "var" / "new.db").touch()
    ruined.write_bytes(b"?" * 5000)
    with pytest.raises(taking.NoBackupError, match=r"b\.db is damaged"):
        taking.take(tmp_path / "var", tmp_path / "backup", no_head, no_matter)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["var"]


@pytest.mark.parametrize("name", ["var/backup", "var/kept/backup.tar", "link/backup.tgz"])
def test_a_backup_is_no_part_of_what_is_backed_up(tmp_path: Path, name: str) -> None:
    """In the data folder each would hold all before it, and so take twice their room."""
    make(tmp_path / "var")
    (tmp_path / "link").symlink_to("var")
    with pytest.raises(taking.NoBackupError, match="lies in the data folder"):
        taking.take(tmp_path / "var", tmp_path / name, no_head, no_matter)
    assert not (tmp_path / name).parent.joinpath("backup").exists()
