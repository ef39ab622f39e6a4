"""What goes on behind the calls: sweeping rows that nothing shows any more, and noticing that another commit is checked out."""

import asyncio
from functools import partial

from mesh.clock import MICROSECOND, to_us
from mesh.db import Transaction
from mesh.host import Host
from services.context import events, store_queries, store_runs
from services.context.freshness import Sight, look, why_stale
from services.context.settings import ContextSettings
from services.context.store import Repository

_PAGE = 100
_GONE = "gone"


class Keeper:
    """The background loops of the service."""

    def __init__(self, host: Host, settings: ContextSettings) -> None:
        self._host = host
        self._settings = settings
        self._dirt = asyncio.Event()
        # what a killed process left is swept at boot
        self._dirt.set()

    def wake(self) -> None:
        """There is something to sweep."""
        self._dirt.set()

    async def sweep_forever(self) -> None:
        """Sweeps when there may be something, a batch a transaction, so that writes of calls get in between."""
        while True:
            await self._dirt.wait()
            self._dirt.clear()
            try:
                await self.sweep()
            except BaseException:
                # it is begun again when the disk was full, say
                self._dirt.set()
                raise

    async def sweep(self) -> None:
        """Deletes every row that no index shows any more."""
        if await self._killed_first():
            await self._host.db.write(lambda tx: store_runs.forget_killed_first(tx, *self._now_and_lease()))
        for index_id, generation in await self._host.db.read(store_queries.sweepable):
            while await self._host.db.write(partial(store_queries.sweep, index_id=index_id, generation=generation)):
                pass
        await self._host.db.write(store_queries.sweep_shapes)

    async def _killed_first(self) -> bool:
        return await self._host.db.read(lambda tx: store_runs.any_killed_first(tx, *self._now_and_lease()))

    def _now_and_lease(self) -> tuple[int, int]:
        return to_us(self._host.clock.now()), self._settings.run_lease // MICROSECOND

    async def watch_forever(self) -> None:
        """Looks after every interval whether an index went stale, or a process was killed in the first run of one."""
        while True:
            await asyncio.sleep(self._settings.freshness_interval.total_seconds())
            await self.watch()
            if await self._killed_first():
                self.wake()

    async def watch(self) -> None:
        """Tells context.stale once for each commit that is seen beside an index of another one."""
        after = ""
        while True:
            page = await self._host.db.read(partial(store_queries.list_repositories, after=after, limit=_PAGE))
            for repository in page:
                sight = await asyncio.to_thread(look, repository.root)
                seen = sight.head or _GONE
                if why_stale(repository.commit_id, sight) and repository.stale_told != seen:
                    await self._host.db.write(partial(self._tell, repository=repository, sight=sight, seen=seen))
            if len(page) < _PAGE:
                return
            after = page[-1].repo_id

    async def _tell(self, tx: Transaction, repository: Repository, sight: Sight, seen: str) -> None:
        if await store_queries.remember_stale(tx, repository.repo_id, repository.check_us, seen):
            await self._host.tell(tx, events.stale(repository, sight.head, why_stale(repository.commit_id, sight)))
