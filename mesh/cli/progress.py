"""Progress bars for what takes long; silent where nobody looks."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

# whoever waits shorter than this need not be told
_PATIENCE = 0.7
_TURN = 0.1
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_CLEAR = "\r\x1b[K"


@contextmanager
def spinning(label: str) -> Iterator[None]:
    """Says on stderr what is waited for and how long already, from a thread, for a call blocks."""
    ended = threading.Event()
    thread = threading.Thread(target=_spin, args=(label, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _spin(label: str, ended: threading.Event) -> None:
    began = time.monotonic()
    if ended.wait(_PATIENCE):
        return
    for sign in itertools.cycle(_SPINNER):
        sys.stderr.write(f"{_CLEAR}{sign} {label} {time.monotonic() - began:.0f} s")
        sys.stderr.flush()
        if ended.wait(_TURN):
            break
    sys.stderr.write(_CLEAR)
    sys.stderr.flush()


class Progress(Protocol):
    """A bar that is told how far the work is."""

    def set(self, done: float, total: float | None = None, label: str | None = None) -> None:
        """So much is done; `total` and `label` change what stands there."""
        ...


class _Silent:
    def set(self, done: float, total: float | None = None, label: str | None = None) -> None:
        """Nobody looks."""


@contextmanager
def shown(label: str, total: float | None, *, visible: bool) -> Iterator[Progress]:
    """A bar while the block runs."""
    if not visible:
        yield _Silent()
        return
    from rich.console import Console  # noqa: PLC0415 - costs more than most commands
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    class Drawn:
        def __init__(self, bars: Bars, task: TaskID) -> None:
            self._bars, self._task = bars, task

        def set(self, done: float, total: float | None = None, label: str | None = None) -> None:
            self._bars.update(self._task, completed=done, total=total, description=label)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Drawn(bars, bars.add_task(label, total=total))
