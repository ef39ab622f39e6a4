"""A log as the tests of its subjects open it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bus.log import Log
from bus.settings import BusSettings
from mesh.clock import ManualClock

START = datetime(2026, 1, 1, tzinfo=UTC)


async def opened(path: Path, on_failure: Callable[[BaseException], None] | None = None, **values: Any) -> Log:
    """A log with a clock of its own; a failing disk fails the test unless it asks for it."""
    clock = values.pop("clock", None) or ManualClock(START)
    return await Log.open(path / "log.db", BusSettings(**values), clock, on_failure or failed)


def failed(error: BaseException) -> None:
    """No test expects this."""
    raise AssertionError(error)
