"""Queries of two replicas as a stateful model: whoever is killed, frozen for too long or late, the books stay right."""

import os
from collections.abc import Coroutine
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, invariant, multiple, rule

from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from mesh.owner import Owner
from services.provider import query_store
from services.provider.chat import Usage
from services.provider.completing_port import Ask
from services.provider.flows import closing, opening, orphans, reserving, sweeping
from services.provider.flows.closing import End
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.query import Came, Query
from services.provider.query import State as Standing
from services.provider.reservation import Denied, Reservation, State
from services.provider.texts import Texts
from tests.integration.test_provider_budget_model import BudgetMachine, amounts, labels, replicas
from tests.support.budgets import Replica

# of a request id it is always the same that is asked
CONTENT = Texts(("hello",))


def _asked(request_id: str) -> Ask:
    return Ask(CONTENT, "big", request_id=request_id)


class CrashMachine(BudgetMachine):
    """The same two replicas, each with the queries that it runs; a kill takes its process, its lock and all that it knew."""

    queries = Bundle("queries")

    def __init__(self) -> None:
        super().__init__()
        self.owners: list[Owner] = []
        # by id, as long as the process lives that runs it: which one that is
        self.running: dict[str, int] = {}
        # what had come of a query when it set more aside, in money
        self.came: dict[str, int] = {}

    async def _open(self) -> None:
        await super()._open()
        for replica in self.replicas:
            self._move_in(replica)
        self.owners = [await self._owner(by) for by in range(2)]

    def _move_in(self, replica: Replica) -> None:
        """Its service's folder, where owners keep their files, is this test's."""
        replica.host.settings = replica.host.settings.__class__(data_folder=Path(self.folder.name))

    async def _owner(self, by: int) -> Owner:
        host = self.replicas[by].host
        return await Owner.begin(host, partial(orphans.give_back, host, self.replicas[by].known))

    async def _close(self) -> None:
        for owner in self.owners:
            _dies(owner)
        self.owners = []
        await super()._close()

    @rule(target=queries, by=replicas, wanted=labels, amount=amounts, minutes=st.sampled_from([1, 5, 60]))
    def begin_query(self, by: int, wanted: Labels, amount: int, minutes: int) -> Any:
        """Sets money aside and notes whose it is, in one transaction."""
        return self._begin(by, wanted, amount, minutes, next(self.ids))

    @rule(
        target=queries,
        by=replicas,
        wanted=labels,
        amount=amounts,
        came=st.none() | st.integers(0, 200),
        killed=st.sampled_from([(), (False,), (True,)]),
    )
    def begin_and_be_killed(self, by: int, wanted: Labels, amount: int, came: int | None, killed: tuple[bool, ...]) -> Any:
        """What the steps by themselves come to too seldom: a query that has begun, perhaps set more aside, and is lost."""
        begun = self._begin(by, wanted, amount, 5, next(self.ids))
        if came is not None and begun in self.running:
            self._set_more_aside(begun, amount, came)
        for seen_by_the_other in killed:
            self._kill(by, seen_by_the_other=seen_by_the_other)
        return begun

    def _begin(self, by: int, wanted: Labels, amount: int, minutes: int, request_id: str) -> Any:
        async def work(host: Host, tx: Transaction, known: Known) -> str | None:
            if await opening.answered(tx, _asked(request_id)) is not None:
                return None
            made = await reserving.reserve(host, tx, known, reserving.Ask(wanted, amount, ttl=timedelta(minutes=minutes)))
            if isinstance(made, Denied):
                return None
            query = Query(
                made.reservation_id,
                made.created,
                wanted,
                wanted.provider_id,
                wanted.model,
                made.reservation_id,
                request_id=request_id,
                request_hash=opening.digest(_asked(request_id)),
                until=made.expires,
                owner=self.owners[by].id,
            )
            await query_store.insert(tx, query)
            return query.query_id

        begun = self.write(by, work)
        if begun is None:
            return multiple()
        self.running[begun] = by
        return begun

    @rule(query_id=queries, amount=amounts, cost=st.integers(0, 200))
    def set_more_aside(self, query_id: str, amount: int, cost: int) -> None:
        """As a stream does that outgrows what was set aside: what had come by then is noted with it."""
        self._set_more_aside(query_id, amount, cost)

    def _set_more_aside(self, query_id: str, amount: int, cost: int) -> None:
        if query_id not in self.running:
            return

        async def work(host: Host, tx: Transaction, known: Known) -> None:
            await query_store.put_came(tx, query_id, Came(Usage(3, 4), cost))
            await reserving.extend(host, tx, known, query_id, amount=amount, ttl=timedelta(minutes=1))

        self.write(self.running[query_id], work)
        self.came[query_id] = cost

    @rule(query_id=queries, output=st.integers(0, 30))
    def end_query(self, query_id: str, output: int) -> None:
        """Is charged whatever has become of its reservation: it may have been frozen until that was over."""
        if query_id not in self.running:
            return
        before = self._get(query_id)
        ended = End(Usage(20, output), False, None, None, (), (), timedelta(seconds=1))

        async def work(host: Host, tx: Transaction, known: Known) -> Query:
            query = await query_store.get(tx, query_id)
            assert query is not None
            return await closing.end(host, tx, known, query, ended)

        query = self.write(self.running.pop(query_id), work)
        assert query.state is Standing.COMPLETED
        self._charged(before, query.cost)

    def _charged(self, before: Reservation, cost: int) -> None:
        held = before.amount if before.state is State.OPEN else 0
        self.costs[before.reservation_id], self.overruns[before.reservation_id] = cost, max(cost - held, 0)

    @rule(by=replicas, seen_by_the_other=st.booleans())
    def kill(self, by: int, seen_by_the_other: bool) -> None:
        """What it ran is given up by the other one, or by the next one that starts; what the other one runs stands."""
        self._kill(by, seen_by_the_other=seen_by_the_other)

    def _kill(self, by: int, *, seen_by_the_other: bool) -> None:
        self._end_of({by}, self._killed(by, seen_by_the_other=seen_by_the_other))

    @rule()
    def crash(self) -> None:
        """Both die at once, and come back."""
        self._end_of({0, 1}, self._all_killed())

    async def _all_killed(self) -> None:
        await self._close()
        await self._open()

    def _end_of(self, dead: set[int], killing: Coroutine[Any, Any, None]) -> None:
        """What these ran is given up, and nothing else is touched."""
        own = {query_id for query_id, runs in self.running.items() if runs in dead}
        queries, reservations = self._queries(), {one.reservation_id: one for one in self._all()}
        self.run(killing)
        for query_id, state in self._queries().items():
            given_up = query_id in own and queries[query_id] is Standing.RUNNING
            assert state is (Standing.EXPIRED if given_up else queries[query_id])
            before, after = reservations.pop(query_id), self._get(query_id)
            if given_up and query_id in self.came:
                assert (after.state, after.cost) == (State.SETTLED, self.came[query_id])
                self._charged(before, self.came[query_id])
            elif given_up and before.state is State.OPEN:
                assert after.state is State.EXPIRED
            else:
                assert after == before
        assert all(self._get(one) == before for one, before in reservations.items())
        self.running = {query_id: runs for query_id, runs in self.running.items() if query_id not in own}

    async def _killed(self, by: int, *, seen_by_the_other: bool) -> None:
        _dies(self.owners[by])
        await self.replicas[by].close()
        if seen_by_the_other:
            await self._looks(1 - by)
        path = Path(self.folder.name) / "provider.db"
        self.replicas[by] = await Replica.open(path, self.clock, lambda: next(self.ids))
        self._move_in(self.replicas[by])
        self.owners[by] = await self._owner(by)

    async def _looks(self, by: int) -> None:
        host = self.replicas[by].host
        await self.owners[by].look(host, partial(orphans.give_back, host, self.replicas[by].known))

    @rule(by=replicas)
    def look(self, by: int) -> None:
        """While both live nothing is given up."""
        before = self._queries(), self._all()
        self.run(self._looks(by))
        assert (self._queries(), self._all()) == before

    @rule(by=replicas)
    def sweep(self, by: int) -> None:
        """Time ends what nobody ended; a process that was frozen meanwhile may end it all the same."""
        self.run(sweeping.expire_due(self.replicas[by].host, self.replicas[by].known))
        self.run(sweeping.abandon_lost(self.replicas[by].host, self.replicas[by].known))

    @rule(target=queries, by=replicas, query_id=queries, wanted=labels)
    def repeat(self, by: int, query_id: str, wanted: Labels) -> Any:
        """Is put off while the first one runs, gets its answer when there is one, and else is a query of its own."""
        request_ids = {row["query_id"]: row["request_id"] for row in self._rows("SELECT query_id, request_id FROM query")}
        state = self._queries()[query_id]
        if request_ids[query_id] is None:
            # another repeat has it
            return multiple()
        if state is Standing.RUNNING:
            with pytest.raises(Refusal, match=f"query {query_id} of this request id still runs"):
                self._begin(by, wanted, 0, 1, request_ids[query_id])
            return multiple()
        begun = self._begin(by, wanted, 0, 1, request_ids[query_id])
        assert begun == multiple() or state is Standing.EXPIRED
        return begun

    @invariant()
    def only_who_lives_runs(self) -> None:
        """No query runs by its state that no process runs."""
        if self.replicas:
            running = {query_id for query_id, state in self._queries().items() if state is Standing.RUNNING}
            assert running <= self.running.keys()

    def _queries(self) -> dict[str, Standing]:
        return {row["query_id"]: Standing(row["state"]) for row in self._rows("SELECT query_id, state FROM query")}


def _dies(owner: Owner) -> None:
    """As the kernel does it: the lock is gone, the file stays."""
    os.close(owner._lock)


CrashMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=40)
TestCrashes = CrashMachine.TestCase
