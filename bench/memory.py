"""A process's memory over time, as a table, and how it grows in the second half of a run."""

import asyncio
import statistics
import time

import psutil

_LINES = 12


class Memory:
    """Looks at the resident memory of a process, about sixty times in so many seconds and at most once a second."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._process = psutil.Process(pid)
        self._pause = min(1.0, seconds / 60)
        self.samples: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Goes on until it is cancelled."""
        began = time.monotonic()
        while True:
            self.samples.append((time.monotonic() - began, self._process.memory_info().rss / 1e6))
            await asyncio.sleep(self._pause)

    @property
    def slope(self) -> float:
        """MB an hour in the second half (least squares)."""
        late = self.samples[len(self.samples) // 2 :]
        return statistics.linear_regression(*zip(*late, strict=True)).slope * 3600

    def table(self, whose: str) -> None:
        """Prints a dozen samples."""
        print(f"{'after s':>10} {f'{whose} MB':>14}")
        for seconds, rss in self.samples[:: max(1, len(self.samples) // _LINES)]:
            print(f"{seconds:10.0f} {rss:14.1f}")
