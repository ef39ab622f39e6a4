"""One process manager at a time on a data folder, and none is seen where a killed one left its file."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mesh import instance

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys
from pathlib import Path
from mesh import instance
with instance.held(Path(sys.argv[1]), 3000, "127.0.0.1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_runs_is_known_as_long_as_it_runs(tmp_path: Path) -> None:
    """By its process id and ports; nobody before and after."""
    assert instance.running(tmp_path) is None
    with instance.held(tmp_path, 3000, "127.0.0.1"):
        found = instance.running(tmp_path)
        assert found is not None
        assert (found.pid, found.door_port, found.alive) == (os.getpid(), 3000, True)
    assert instance.running(tmp_path) is None


def test_a_second_one_is_refused_by_name(tmp_path: Path) -> None:
    """It is told who holds the folder, and what to do."""
    with (
        instance.held(tmp_path, 3000, "127.0.0.1"),
        pytest.raises(instance.InUseError, match=rf"process {os.getpid()}.*tooloo down"),
    ):
        instance.held(tmp_path, 4000, "127.0.0.1").__enter__()


def test_who_looks_at_the_same_time_takes_nobody_for_a_running_mesh(tmp_path: Path) -> None:
    """A look holds the lock for a moment: another look sees no mesh, and a start waits until it is over."""
    with instance.held(tmp_path, 3000, "127.0.0.1"):
        pass
    look = os.open(tmp_path / instance.FILE, os.O_RDWR)
    fcntl.flock(look, fcntl.LOCK_SH)
    assert instance.running(tmp_path) is None
    timer = threading.Timer(0.03, os.close, (look,))
    timer.start()
    with instance.held(tmp_path, 3000, "127.0.0.1"):
        assert instance.running(tmp_path) is not None
    timer.join()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file stands where the folder or its parent should be: it is said what to do, by the process manager and the command."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "var"):
        with pytest.raises(instance.FolderError, match=rf"{folder} cannot be used.*TOOLOO_DATA_FOLDER"):
            instance.held(folder, 3000, "127.0.0.1").__enter__()
        with pytest.raises(instance.FolderError, match=rf"{folder} cannot be used.*TOOLOO_DATA_FOLDER"):
            instance.running(folder)
    with pytest.raises(instance.FolderError):
        instance.make(tmp_path / "file" / "var")


def test_a_killed_one_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """Its file is still there; the next one may start."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    found = instance.running(tmp_path)
    assert found is not None
    assert found.pid == process.pid
    process.kill()
    process.communicate()
    assert (tmp_path / instance.FILE).read_bytes()
    assert instance.running(tmp_path) is None
    assert not found.alive
    with instance.held(tmp_path, 3000, "127.0.0.1"):
        pass


def test_another_process_with_the_same_id_is_not_it(tmp_path: Path) -> None:
    """An id is given again; the time of the start tells them apart."""
    with instance.held(tmp_path, 3000, "127.0.0.1"):
        path = tmp_path / instance.FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | {"started": "1"}))
        found = instance.running(tmp_path)
        assert found is not None
        assert not found.alive
