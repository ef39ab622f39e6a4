"""Pools of workers, lent to runs one at a time: the last one that came back is kept for a while, because workers start slowly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from services.context.workers.pool import Pool


class Pools:
    """Makes pools and keeps one for `idle`; `close` ends it."""

    def __init__(self, make: Callable[[], Pool], idle: timedelta) -> None:
        self._make = make
        self._idle = idle.total_seconds()
        self._kept: Pool | None = None
        self._ending: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Pool]:
        """A pool for as long as the block takes; one that was broken off is not kept."""
        pool, self._kept = self._kept or self._make(), None
        try:
            yield pool
        except BaseException:
            await pool.close()
            raise
        await self._keep(pool)

    async def close(self) -> None:
        """Ends the workers that are kept, and keeps none from now on."""
        self._idle = 0
        if self._ending:
            self._ending.cancel()
        await self._end()

    async def _keep(self, pool: Pool) -> None:
        if self._kept or not self._idle:
            await pool.close()
            return
        self._kept = pool
        if self._ending:
            self._ending.cancel()
        self._ending = asyncio.create_task(self._end_later(), name="end of idle workers")

    async def _end_later(self) -> None:
        await asyncio.sleep(self._idle)
        # from here on it must not be cancelled
        self._ending = None
        await self._end()

    async def _end(self) -> None:
        pool, self._kept = self._kept, None
        if pool:
            await pool.close()
