"""Time that passes at once: a limit strikes when a test says so, however long it is, and whatever the machine does meanwhile."""

import asyncio
from collections.abc import Callable

import pytest

from mesh.clock import SystemClock


def leaps(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass for the timers of the running loop and the clocks of this process; the time of day stays."""
    passed = 0.0

    def leap(seconds: float) -> None:
        nonlocal passed
        if not passed:
            loop = asyncio.get_running_loop()
            timers, clocks = loop.time, SystemClock.monotonic
            monkeypatch.setattr(loop, "time", lambda: timers() + passed)
            monkeypatch.setattr(SystemClock, "monotonic", lambda clock: clocks(clock) + passed)
        passed += seconds

    return leap
