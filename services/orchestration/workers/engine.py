"""Finds runs that need a driver and drives them: new ones, and those that a stopped or killed process left.

A run is leased to one process at a time; the lease is renewed while it is driven, and a run whose lease has ended is anybody's. A
process that has lost its lease cannot note anything any more (the driver checks it in every transaction), so two never both drive.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mesh.clock import to_us
from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.orchestration import run as runs
from services.orchestration import store, task_store
from services.orchestration.records import RunRecord
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers.calls import Caller
from services.orchestration.workers.changes import Changes, wait
from services.orchestration.workers.driver import Driver, LeaseLost, Places, Tools

log = logging.getLogger(__name__)
_RENEWALS_PER_LEASE = 3
_FORGET_AT_A_TIME = 100


class Engine:
    """The background loop of runs."""

    def __init__(self, host: Host, settings: OrchestrationSettings, owner: str, changes: Changes) -> None:
        self._host = host
        self._settings = settings
        caller = Caller(host.client, settings.max_output_bytes)
        self._tools = Tools(host, settings, caller, Places(settings.running_nodes), changes, owner)
        self._driving: dict[str, tuple[Driver, asyncio.Task[None]]] = {}
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Says that a run was started."""
        self._woken.set()

    def give_up(self, run_id: str) -> None:
        """Says that a run was ended from outside: its calls are given up."""
        if run_id in self._driving:
            self._driving[run_id][1].cancel()

    async def run(self) -> None:
        """Drives runs for ever."""
        housekeeper = asyncio.create_task(self._keep_up())
        try:
            while True:
                self._woken.clear()
                await _tried(self._claim)
                await wait(self._woken, self._settings.poll_interval.total_seconds())
                if housekeeper.done():
                    housekeeper.result()
        finally:
            housekeeper.cancel()
            with suppress(asyncio.CancelledError):
                await housekeeper
            await self._stop_drivers()

    async def close(self) -> None:
        """Gives back the leases, so that the next process goes on at once."""
        await self._host.db.write(lambda tx: store.release_leases(tx, self._tools.owner))

    async def _claim(self) -> None:
        free = self._settings.active_runs - len(self._driving)
        now = self._host.clock.now()
        if free <= 0:
            return

        until = to_us(now + self._settings.run_lease)

        async def work(tx: Transaction) -> list[str]:
            return await store.claim_runs(tx, self._tools.owner, to_us(now), until, free)

        if await self._host.db.read(lambda tx: store.claimable(tx, to_us(now), until)):
            for run_id in await self._host.db.write(work):
                await self._drive(run_id)

    async def _drive(self, run_id: str) -> None:
        async def work(tx: Transaction) -> tuple[RunRecord | None, list[runs.Fact]]:
            return await store.find_run(tx, run_id), await store.facts_of(tx, run_id)

        record, facts = await self._host.db.read(work)
        if record is None or run_id in self._driving:
            return
        driver = Driver(self._tools, record, facts)
        task = asyncio.create_task(driver.run(), name=f"run {run_id}")
        self._driving[run_id] = (driver, task)
        task.add_done_callback(lambda done: self._landed(run_id, done))

    def _landed(self, run_id: str, task: asyncio.Task[None]) -> None:
        del self._driving[run_id]
        self.wake()
        if task.cancelled() or isinstance(error := task.exception(), LeaseLost):
            return
        if error is not None:
            # its lease ends, and whoever claims it next goes on from what is on disk
            log.error("run %s stopped being driven; it is taken up again when its lease ends", run_id, exc_info=error)

    async def _keep_up(self) -> None:
        """Renews the leases and drops old runs."""
        while True:
            await asyncio.sleep(self._settings.run_lease.total_seconds() / _RENEWALS_PER_LEASE)
            await _tried(self._renew)
            await _tried(self._forget)

    async def _renew(self) -> None:
        if not self._driving:
            return
        driven = set(self._driving)
        until = to_us(self._host.clock.now() + self._settings.run_lease)
        held = await self._host.db.write(lambda tx: store.renew_leases(tx, self._tools.owner, driven, until))
        for run_id in driven - held:
            self.give_up(run_id)

    async def _forget(self) -> None:
        before = to_us(self._host.clock.now() - self._settings.keep_runs)
        if await self._host.db.read(lambda tx: store.old_runs(tx, before, limit=1)):
            await self._host.db.write(lambda tx: store.forget_runs(tx, before, _FORGET_AT_A_TIME))
        if await self._host.db.read(lambda tx: task_store.anything_old(tx, before)):
            await self._host.db.write(lambda tx: task_store.forget_old(tx, before, _FORGET_AT_A_TIME))

    async def _stop_drivers(self) -> None:
        tasks = [task for _, task in self._driving.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tried(turn: Callable[[], Awaitable[None]]) -> None:
    """One turn, put off when the store refuses it, as on a full disk: the runs that are driven go on meanwhile."""
    try:
        await turn()
    except Refusal as refusal:
        log.warning("put off: %s", refusal)
