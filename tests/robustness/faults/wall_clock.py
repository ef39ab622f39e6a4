"""A wall clock that jumps while a process runs (libfaketime). The monotonic clock is left alone, as a real jump leaves it."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import libfaketime


class WallClock:
    """The time of day of one process, steered through a file."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._file = scratch / "wall-clock"
        self.set_off(timedelta(0))

    def env(self) -> Mapping[str, str]:
        """What the process must be started with to have this clock."""
        library = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # the file is looked at on every call, so that a jump is seen at once
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_off(self, by: timedelta) -> None:
        """From now on the clock is off by so much."""
        text = f"{by.total_seconds():+.0f}s\n"
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._file)
