"""The mesh's clock in a process, put forward or back from outside while the process runs; the monotonic one is left alone.

`python -m tests.robustness.faults.steered_clock services.learning` runs a module on it. A library in front of the C library
(faults/wall_clock.py) would reach everything, but gRPC's own threads then wait by one clock and look at another: seconds of work.
"""

import mmap
import os
import runpy
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mesh.clock import SystemClock, from_us

_FILE = "TOOLOO_TEST_CLOCK"
_BYTES = 8


class SteeredClock:
    """How far the clock of one or more processes is off."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._file = scratch / "steered-clock"
        self._file.write_bytes(bytes(_BYTES))

    def env(self) -> Mapping[str, str]:
        """What a process that this module runs must be started with."""
        return {_FILE: str(self._file)}

    def set_off(self, by: timedelta) -> None:
        """From now on the clock is off by so much."""
        with self._file.open("r+b") as file:
            file.write((by // timedelta(microseconds=1)).to_bytes(_BYTES, "little", signed=True))


def steer(file: Path) -> None:
    """Lets every SystemClock of this process follow the file."""
    with file.open("rb") as opened:
        off = mmap.mmap(opened.fileno(), _BYTES, access=mmap.ACCESS_READ)

    def now_us(self: SystemClock) -> int:
        return time.time_ns() // 1000 + int.from_bytes(off[:_BYTES], "little", signed=True)

    def now(self: SystemClock) -> datetime:
        return from_us(now_us(self)).astimezone(UTC)

    SystemClock.now_us = now_us  # type: ignore[method-assign] # that is the point
    SystemClock.now = now  # type: ignore[method-assign] # likewise


if __name__ == "__main__":
    steer(Path(os.environ[_FILE]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
