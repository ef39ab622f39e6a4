"""Who waits for a run hears at once that it changed in this process; what another process did, they see when they look again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Wakes those who watch a run."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def notify(self, run_id: str) -> None:
        """Says that a run changed."""
        for watcher in self._watchers.get(run_id, ()):
            watcher.set()

    @contextmanager
    def watch(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run changes; clear it before looking."""
        changed = asyncio.Event()
        watchers = self._watchers.setdefault(run_id, set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watchers.pop(run_id, None)


async def wait(changed: asyncio.Event, seconds: float) -> None:
    """Waits until something changes, at most so long."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await changed.wait()
    except TimeoutError:
        return
