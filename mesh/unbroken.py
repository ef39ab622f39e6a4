"""Work that must not stop half-way because its caller hung up: what was done elsewhere, or stored, has to be known here."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

P = ParamSpec("P")
T = TypeVar("T")


class Unbroken:
    """Runs work to its end in a task of its own: a refresh cut off after the provider rotated the token logs the user out."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        # a lock lives as long as someone waits for it
        self._under_way: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, work: Coroutine[Any, Any, T], *, alone: str = "") -> T:
        """The result of the work; when the caller is cancelled the work goes on without it.

        Works of the same name `alone` go one after another: a repeat must wait for the first, also when nobody waits for that one.
        """
        task = asyncio.create_task(self._alone(alone, work) if alone else work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _alone(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        lock = self._under_way.setdefault(name, asyncio.Lock())
        async with lock:
            return await work

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits any more

    async def close(self) -> None:
        """Waits for what is under way; every call out has a time limit, so it ends."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


_methods = Unbroken()


def unbroken(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same method, of which every call goes on to its end when its caller is cancelled."""

    @wraps(work)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await _methods.run(work(*args, **kwargs))

    return run
