"""A log file that is renamed while processes write it: no line is lost, however the writer ends."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway import logfiles
from gateway.assembly import system_log
from gateway.logfiles import Budget, read_back
from gateway.loglines import Filter
from gateway.rotating import ProcessLogs
from mesh import logfile
from mesh.logfile import FileHandler
from mesh.settings import MeshSettings

# threads that log, and one that writes past logging, as gRPC's core does
_WRITER = """
import itertools, logging, os, sys, threading
from mesh import logs
logs.setup("learning", "INFO")
def log(thread):
    for number in itertools.count():
        logging.info("%d %d", thread, number)
for thread in range(3):
    threading.Thread(target=log, args=(thread,), daemon=True).start()
for number in itertools.count():
    os.write(2, b'{"message": "raw %d"}\\n' % number)
"""


def numbers(folder: Path) -> dict[str, list[int]]:
    """The numbers that each writer has written, from the oldest file to the newest."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("learning-0.*jsonl"), key=_age, reverse=True):
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        for line in whole.splitlines():
            writer, number = line.partition(b'"message": "')[2].split(b'"')[0].split()
            found.setdefault(writer.decode(), []).append(int(number))
    return found


def _age(path: Path) -> int:
    """0 of the file that is written, 1 of the one renamed last."""
    return int(path.name.split(".")[1]) if path.name.count(".") > 1 else 0


def test_a_killed_writer_has_lost_no_line(tmp_path: Path) -> None:
    """Renamed again and again while it writes, then killed: every number up to the last one stands there once, in order."""
    file = tmp_path / "learning-0.jsonl"
    settings = MeshSettings.load({"TOOLOO_LOG_BYTES": "65536", "TOOLOO_LOG_FILES": "100"})
    looking = ProcessLogs(lambda: [file], settings)
    with file.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER], stdout=output, stderr=output, env={**os.environ, logfile.VARIABLE: str(file)}
        )
    try:
        until = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 20 and time.monotonic() < until:
            looking.look()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.iterdir())) >= 20
    written = numbers(tmp_path)
    assert sorted(written) == ["0", "1", "2", "raw"]
    for each in written.values():
        assert each == list(range(len(each)))


def test_the_managers_own_log_is_begun_anew_and_read_over_it(tmp_path: Path) -> None:
    """As many renamed ones are kept as the setting says; ReadLogs finds what they hold."""
    settings = MeshSettings.load({"TOOLOO_DATA_FOLDER": str(tmp_path), "TOOLOO_LOG_BYTES": "65536", "TOOLOO_LOG_FILES": "2"})
    handler = FileHandler.opened(system_log(settings))
    looking = ProcessLogs(lambda: [system_log(settings)], settings)
    try:
        for number in range(50):
            record = logging.makeLogRecord({"msg": f'{{"time": "2026-01-01T00:00:{number:02}Z", "message": "{"x" * 5000}"}}'})
            handler.emit(record)
            looking.look()
    finally:
        handler.close()
    names = sorted(path.name for path in system_log(settings).parent.iterdir())
    assert names == ["system.1.jsonl", "system.2.jsonl", "system.jsonl"]
    files = logfiles.find(system_log(settings).parent)
    records, _ = read_back(files, {file.mark: file.size for file in files}, Filter(process="system"), 100, Budget(10**7))
    seconds = [record.time.second for record in records]
    assert seconds == list(range(49, 49 - len(seconds), -1))
    assert len(seconds) > 26


def test_without_room_for_a_new_file_the_old_one_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is not lost, and no caller of logging sees an error; with room again it goes on in a new one."""
    file = tmp_path / "system.jsonl"
    handler = FileHandler.opened(file)

    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    try:
        logfile.shift(file, 1)
        with monkeypatch.context() as full:
            full.setattr(os, "open", no_room)
            handler.emit(logging.makeLogRecord({"msg": "one"}))
        handler.emit(logging.makeLogRecord({"msg": "two"}))
    finally:
        handler.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"system.1.jsonl": "one\n", "system.jsonl": "two\n"}
