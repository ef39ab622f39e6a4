"""Drives one run: starts what is ready, notes what came of it, until the run has ended or belongs to someone else.

Every step is one transaction: the facts that happened, the attempts that begin, and the events that tell of them. An attempt
begins only after its fact is on disk; so after a crash the facts alone say what is done (never again) and what was cut off (made
again with the same request_id).
"""

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message

from mesh import call, errors
from mesh.clock import from_us, to_us
from mesh.db import Transaction
from mesh.host import Host
from services.orchestration import events, reference, retry, store, wire
from services.orchestration import run as runs
from services.orchestration.dag import Node
from services.orchestration.records import RunRecord
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers.calls import Caller, CallFailed, make_request, request_id_of
from services.orchestration.workers.changes import Changes, wait

log = logging.getLogger(__name__)
# a retry that is due later than this is looked at again by then: the wall clock may have been set
_LONGEST_SLEEP_S = 1.0


class LeaseLost(Exception):
    """The run is someone else's now, or was ended from outside."""


@dataclass
class Places:
    """How many calls may be on the way at a time; `changed` wakes those who wait for one."""

    free: int
    waiting: set[asyncio.Event] = field(default_factory=set)

    def take(self, wanted: int) -> int:
        """Takes as many places as there are, up to `wanted`."""
        taken = min(wanted, self.free)
        self.free -= taken
        return taken

    def give_back(self) -> None:
        """Gives one place back and wakes who waits."""
        self.free += 1
        for waiter in self.waiting:
            waiter.set()


@dataclass(frozen=True)
class Tools:
    """What every driver of a process uses."""

    host: Host
    settings: OrchestrationSettings
    caller: Caller
    places: Places
    changes: Changes
    owner: str


class Driver:
    """Drives one leased run; `run()` returns when there is nothing more to do for this process."""

    def __init__(self, tools: Tools, record: RunRecord, facts: list[runs.Fact]) -> None:
        self._tools = tools
        self._record = record
        self._state = runs.replay(wire.stored_dag(record.dag, tools.settings), facts)
        self._sequence = len(facts)
        self._flights: dict[str, asyncio.Task[runs.NodeFact]] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Goes on until the run has ended; LeaseLost when someone else took or ended it."""
        call.current.set(
            call.Call(f"run {self._record.run_id}", self._record.traceparent, correlation_id=self._record.correlation_id)
        )
        self._tools.places.waiting.add(self._woken)
        try:
            while not self._state.ended:
                self._woken.clear()
                await self._step(self._landed())
                if not self._state.ended:
                    await self._pause()
        finally:
            self._tools.places.waiting.discard(self._woken)
            await self._abandon()

    def _landed(self) -> list[runs.NodeFact]:
        """What came of the calls that are back."""
        back = [name for name, flight in self._flights.items() if flight.done()]
        return [self._outcome(name, self._flights.pop(name)) for name in back]

    def _outcome(self, name: str, flight: asyncio.Task[runs.NodeFact]) -> runs.NodeFact:
        """A defect fails the node, with an id that the log also has; it must not stop the run for ever."""
        error = flight.exception()
        if error is None:
            return flight.result()
        refusal = errors.internal(self._tools.host.ids())
        log.error("node %s of run %s: %s", name, self._record.run_id, refusal.message, exc_info=error)
        failure = runs.Failure(refusal.code.name, refusal.reason, refusal.message)
        return runs.NodeFailed(name, self._tools.host.clock.now(), failure)

    async def _step(self, happened: list[runs.NodeFact]) -> None:
        now = self._tools.host.clock.now()
        state = _apply_all(self._state, happened)
        wanted = [name for name in runs.interrupted(state) if name not in self._flights]
        wanted += runs.ready(state, now, self._tools.settings.longest_backoff)
        places = self._tools.places.take(len(wanted))
        begun = [runs.NodeStarted(name, now) for name in wanted[:places]]
        try:
            if happened or begun:
                await self._commit([*happened, *begun])
        except BaseException:
            for _ in begun:
                self._tools.places.give_back()
            raise
        for fact in begun:
            self._launch(fact.node)

    async def _commit(self, facts: list[runs.NodeFact]) -> None:
        """Puts facts and their events on disk, and the end of the run when this is it."""
        after = _apply_all(self._state, facts)

        async def work(tx: Transaction) -> None:
            if not await store.holds_lease(tx, self._record.run_id, self._tools.owner):
                raise LeaseLost
            await store.append_facts(tx, self._record.run_id, self._sequence, facts)
            await self._tell(tx, facts)
            if after.ended:
                await end_run(tx, self._tools.host, self._record, after)
            tx.after_commit(lambda: self._tools.changes.notify(self._record.run_id))

        await self._tools.host.db.write(work)
        self._state = after
        self._sequence += len(facts)

    async def _tell(self, tx: Transaction, facts: list[runs.NodeFact]) -> None:
        before = self._state
        for fact in facts:
            after = runs.apply(before, fact)
            told = events.of_node(self._record, before, after, fact)
            if told is not None:
                await self._tools.host.tell(tx, told)
            before = after

    def _launch(self, name: str) -> None:
        flight = asyncio.create_task(self._attempt(self._state.dag.by_id[name], self._state.nodes[name].failures))
        flight.add_done_callback(self._came_back)
        self._flights[name] = flight

    def _came_back(self, _flight: asyncio.Task[runs.NodeFact]) -> None:
        self._tools.places.give_back()
        self._woken.set()

    async def _pause(self) -> None:
        """Waits until a call is back, a place is free, a retry is due or someone wakes it."""
        # while no place is free nothing can start, however long it has been due
        retry_at = runs.next_retry(self._state) if self._tools.places.free else None
        left = (retry_at - self._tools.host.clock.now()).total_seconds() if retry_at else _LONGEST_SLEEP_S
        await wait(self._woken, min(max(left, 0.0), _LONGEST_SLEEP_S))

    async def _attempt(self, node: Node, failures: int) -> runs.NodeFact:
        """Makes one attempt; gives what came of it."""
        clock = self._tools.host.clock
        try:
            request = self._request(node)
            output = await self._tools.caller.make(node.call, request, node.timeout)
        except CallFailed as error:
            longest = self._tools.settings.longest_backoff.total_seconds()
            delay = retry.delay_s(node.retry, failures + 1, error.failure, error.retry_after_s, longest)
            now = clock.now()
            if delay is None:
                return runs.NodeFailed(node.id, now, error.failure)
            return runs.AttemptFailed(node.id, now, error.failure, now + timedelta(seconds=delay))
        return runs.NodeSucceeded(node.id, clock.now(), output)

    def _request(self, node: Node) -> Message:
        resolver = reference.Resolver(self._scope(), self._tools.settings.max_request_chars)
        try:
            values = resolver.resolve(node.input)
        except (reference.MissingValue, reference.InputTooLarge) as error:
            raise CallFailed(runs.Failure("INVALID_ARGUMENT", "INVALID_FIELD", str(error))) from error
        return make_request(node.call, values, request_id_of(self._record.run_id, node.id))

    def _scope(self) -> dict[str, Any]:
        start = from_us(self._record.created_us).isoformat().replace("+00:00", "Z")
        about = {"id": self._record.run_id, "userId": self._record.user_id, "startTime": start}
        return {"nodes": runs.outputs(self._state), "input": json.loads(self._record.input), "run": about}

    async def _abandon(self) -> None:
        """Gives up the calls that are still on the way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _apply_all(state: runs.Run, facts: Iterable[runs.Fact]) -> runs.Run:
    for fact in facts:
        state = runs.apply(state, fact)
    return state


async def end_run(tx: Transaction, host: Host, record: RunRecord, state: runs.Run) -> None:
    """Notes the end of a run and tells it."""
    now = host.clock.now()
    await store.end_run(tx, record.run_id, state.status.value, state.reason, to_us(now))
    await host.tell(tx, events.dag_completed(record, state, now))
