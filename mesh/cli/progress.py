"""Progress bars for what takes long; silent where nobody looks."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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

    def set(self, done: float, total: float | None = None, label: str | None = None, unit: str | None = None) -> None:
        """So much is done; `total` (0: not known), `label` and `unit` change what stands there."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """The bar is away while the block writes to the terminal."""
        ...


class _Silent:
    def set(self, done: float, total: float | None = None, label: str | None = None, unit: str | None = None) -> None:
        """Nobody looks."""

    def aside(self) -> AbstractContextManager[None]:
        """Nothing is in the way."""
        return nullcontext()


def amount(done: float, total: float | None, unit: str) -> str:
    """What stands beside a bar, e.g. "12/60 files"; only what is known of it."""
    if total:
        return f"{done:.0f}/{total:.0f} {unit}".rstrip()
    return f"{done:.0f} {unit}".rstrip() if done else ""


@contextmanager
def shown(label: str, total: float | None, *, visible: bool) -> Iterator[Progress]:
    """A bar on stderr while the block runs."""
    if not visible:
        yield _Silent()
        return
    from rich.console import Console  # noqa: PLC0415 - costs more than most commands
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(amount(task.completed, task.total, task.fields["unit"]))

    class Drawn:
        def __init__(self, bars: Bars) -> None:
            self._bars, self._task = bars, bars.tasks[0]

        def set(self, done: float, total: float | None = None, label: str | None = None, unit: str | None = None) -> None:
            if total == 0:
                # rich takes no total for one that stays as it is
                self._task.total = total = None
            shown_unit = self._task.fields["unit"] if unit is None else unit
            self._bars.update(self._task.id, completed=done, total=total, description=label, unit=shown_unit)

        @contextmanager
        def aside(self) -> Iterator[None]:
            self._bars.stop()
            try:
                yield
            finally:
                self._bars.start()

    # what is written into a file meanwhile must get there, and not to the terminal of the bar
    console, redirect = Console(stderr=True), sys.stdout.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), Amount(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True, redirect_stdout=redirect) as bars:
        bars.add_task(label, total=total, unit="")
        yield Drawn(bars)
