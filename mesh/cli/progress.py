"""Progress bars for what takes long; silent where nobody looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


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
