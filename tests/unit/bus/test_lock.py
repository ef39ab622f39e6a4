"""A log is open in one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from bus.lock import InUse, Lock


def test_a_second_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """And may have it when the first has let go."""
    first = Lock(tmp_path / "log.db")
    with pytest.raises(InUse, match=r"open in another process \(process \d+\)"):
        Lock(tmp_path / "log.db")
    first.release()
    Lock(tmp_path / "log.db").release()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """The kernel lets go of it: a start after a crash waits for nobody."""
    code = """
import pathlib, sys
from bus.lock import Lock
Lock(pathlib.Path(sys.argv[1]))
print("has it", flush=True)
sys.stdin.read()
"""
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log.db")], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"has it\n"
        with pytest.raises(InUse):
            Lock(tmp_path / "log.db")
        holder.kill()
        holder.communicate()
    Lock(tmp_path / "log.db").release()
