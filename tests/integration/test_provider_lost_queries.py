"""Queries whose process is killed: their reservation expires and is told, they are EXPIRED, no money is lost or counted twice."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.budget_pb2 import Budget, BudgetStanding
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.health_pb2 import FAILURE_KIND_LOST
from tooloo.provider.v1.provider_events_pb2 import BudgetReservationExpired, ProviderQueryFailed
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from bench.provider.replicas import Process, replicas
from mesh.ids import new_id
from services.provider.flows import known, sweeping
from services.provider.settings import ProviderSettings
from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    WORDS,
    Desk,
    FarEnd,
    Reply,
    asked,
    begins,
    chunk,
    desk_on,
    nanos,
    refused,
    says,
    settings_for,
    usd,
    waits,
)
from tests.integration.remote_bench import Far, far_end

State = api.GetQueryResponse
M = TypeVar("M", bound=Message)
MINUTE = 60
QUICK = {"settle_grace": "5s", "reservation_sweep": "100ms"}


def _held(go: asyncio.Event) -> Reply:
    """Answers when it may."""

    async def reply(far: Far) -> None:
        await go.wait()
        await says()(far)

    return reply


async def _ask(process: Process, request_id: str = "") -> api.CompleteResponse:
    request = asked(api.CompleteRequest, BIG, "hello", seconds=MINUTE, request_id=request_id)
    answer: api.CompleteResponse = await CompletionServiceStub(process.channel).Complete(request)
    return answer


async def _limit(process: Process, amount: int) -> None:
    budget = Budget(budget_id="b", limit=usd(f"{amount / 1e9:.9f}"), mode=Budget.MODE_DENY)
    await ProviderServiceStub(process.channel).SetBudget(provider_api.SetBudgetRequest(budget=budget))


async def _standing(process: Process) -> BudgetStanding:
    return (await ProviderServiceStub(process.channel).GetBudget(provider_api.GetBudgetRequest(budget_id="b"))).standing


async def _eventually(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await ask():  # noqa: ASYNC110 - another process has no event here
            await asyncio.sleep(0.02)


def _rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    """What the store says, read beside its processes."""
    with sqlite3.connect(folder / "provider" / "provider.db") as file:
        return file.execute(statement).fetchall()


def _pass_time(folder: Path) -> None:
    """The time of every open reservation runs out; it was to be the deadline of its query and the grace after it."""
    lengths = {length for (length,) in _rows(folder, "SELECT expires_us - created_us FROM reservation WHERE state = 1")}
    assert lengths == {(MINUTE + 5) * 1_000_000}
    with sqlite3.connect(folder / "provider" / "provider.db", timeout=20) as file:
        file.execute("UPDATE reservation SET expires_us = created_us WHERE state = 1")


def _told(folder: Path, kind: type[M]) -> list[M]:
    found = []
    for (content,) in _rows(folder, "SELECT event FROM outbox"):
        event, data = Event.FromString(content), kind()  # type: ignore[arg-type] # a BLOB
        if event.data.Unpack(data):
            found.append(data)
    return found


def _expired(folder: Path) -> list[BudgetReservationExpired]:
    return _told(folder, BudgetReservationExpired)


async def test_killed_between_call_and_settlement(tmp_path: Path) -> None:
    """The caller's repeat is put off while it could still be running, and then is a query of its own that is charged once."""
    far, data, request_id = FarEnd(), tmp_path / "data", new_id()
    far.script["big"] = [waits]
    async with far_end(far.answer) as server, replicas(1, data, settings_for(server.url, tmp_path, **QUICK)) as [process]:
        await _limit(process, 10**9)
        call = asyncio.create_task(_ask(process, request_id))
        await far.arrived.wait()
        held = nanos((await _standing(process)).reserved)
        assert held > 0
        await process.kill()
        await asyncio.wait([call])
        await process.start()
        [(query_id,)] = _rows(data, "SELECT query_id FROM query")
        assert nanos((await _standing(process)).reserved) == held
        _pass_time(data)

        async def expired() -> bool:
            request = api.GetQueryRequest(query_id=str(query_id))
            return (await CompletionServiceStub(process.channel).GetQuery(request)).state == State.STATE_EXPIRED

        await _eventually(expired)
        standing = await _standing(process)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (0, 0)
        assert [(each.reservation_id, nanos(each.amount)) for each in _expired(data)] == [(query_id, held)]
        assert [(each.query_id, each.failure) for each in _told(data, ProviderQueryFailed)] == [(query_id, FAILURE_KIND_LOST)]
        assert not _rows(data, "SELECT 1 FROM query WHERE state = 1")
        answer = await _ask(process, request_id)
        assert answer.message.text == "".join(WORDS)
        assert answer.account.query_id != query_id
        assert await _ask(process, request_id) == answer
        standing = await _standing(process)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)
        assert _rows(data, "SELECT COUNT(*), SUM(cost_nanos) FROM usage") == [(1, COST_OF_BIG)]
        assert len(far.asked) == 2


async def test_two_replicas_behind_one_budget(tmp_path: Path) -> None:
    """Ten fit at the same time, whoever of the two is asked; one of them is killed, and the other settles accounts."""
    far, data, go = FarEnd(), tmp_path / "data", asyncio.Event()
    far.script["big"] = [_held(go) for _ in range(40)]
    async with far_end(far.answer) as server, replicas(2, data, settings_for(server.url, tmp_path, **QUICK)) as [one, other]:
        await _limit(one, 10**9)
        first = new_id()
        calls = [asyncio.create_task(_ask(one, first))]
        await far.arrived.wait()
        share = nanos((await _standing(other)).reserved)
        await _limit(one, 10 * share)
        calls += [asyncio.create_task(_ask(process)) for process in [one, other] * 15]

        async def decided() -> bool:
            return sum(call.done() for call in calls) == 21 and len(far.asked) == 10

        await _eventually(decided)
        assert nanos((await _standing(other)).reserved) == 10 * share
        await one.kill()
        put_off = await refused(_ask(other, first))
        assert put_off.code is grpc.StatusCode.UNAVAILABLE, "nobody knows yet that its process died"
        assert put_off.retry_after is not None
        go.set()
        await asyncio.wait(calls)
        assert len(far.asked) == 10
        _pass_time(data)

        async def at_rest() -> bool:
            return not _rows(data, "SELECT 1 FROM query WHERE state = 1")

        await _eventually(at_rest)
        answered = [call.result() for call in calls if call.exception() is None]
        lost = 10 - len(answered)
        assert lost > 0
        assert len(_expired(data)) == lost
        standing = await _standing(other)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (len(answered) * COST_OF_BIG, 0)
        assert _rows(data, "SELECT COUNT(*) FROM usage") == [(len(answered),)]
        assert _rows(data, "SELECT state, COUNT(*) FROM query GROUP BY state ORDER BY state") == [
            (number, count) for number, count in ((State.STATE_COMPLETED, len(answered)), (State.STATE_EXPIRED, lost)) if count
        ]
        codes = [error.code() for call in calls if isinstance(error := call.exception(), grpc.aio.AioRpcError)]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 21


async def test_a_query_that_settles_late(tmp_path: Path) -> None:
    """It was given up while it ran on (a machine that was suspended): what it cost is charged all the same, once, and told."""
    go = asyncio.Event()
    async with desk_on(tmp_path, reservation_sweep="1h") as desk:
        await desk.limit("1")
        desk.far.script["big"] = [_held(go)]
        call = asyncio.create_task(desk.ask())
        await desk.far.arrived.wait()
        await desk.bench.host.db.write(lambda tx: tx.execute("UPDATE reservation SET expires_us = 1"))
        knows = known.read(desk.bench.host.settings_of(ProviderSettings), {})
        assert await sweeping.expire_due(desk.bench.host, knows) == 1
        assert await sweeping.abandon_lost(desk.bench.host, knows) == 1
        [query_id] = await desk.query_ids()
        assert (await desk.query(query_id)).state == State.STATE_EXPIRED
        go.set()
        answer = await call
        assert (await desk.query(query_id)).account == answer.account
        standing = await desk.standing()
        assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)
        [told] = await desk.told("budget.reservation.reconciled")
        assert nanos(told.cost) == COST_OF_BIG


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_store_that_is_away_when_a_query_ends(tmp_path: Path, streamed: bool) -> None:
    """Somebody holds its lock: the answer comes when the lock is gone, and is charged once; nobody's money is forgotten."""
    go = asyncio.Event()
    async with desk_on(tmp_path, mesh={"TOOLOO_BUSY_TIMEOUT": "50ms"}) as desk:
        await desk.limit("1")
        desk.far.script["big"] = [_held(go)]
        call: asyncio.Task[object] = asyncio.create_task(desk.stream() if streamed else desk.ask())
        await desk.far.arrived.wait()
        lock = sqlite3.connect(tmp_path / "data" / "provider" / "provider.db", isolation_level=None, timeout=30)
        lock.execute("BEGIN IMMEDIATE")
        go.set()
        async with asyncio.timeout(60):
            await _refused_once(desk)
        assert not call.done()
        lock.execute("ROLLBACK")
        lock.close()
        await call
        await desk.settled()
        standing = await desk.standing()
        assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)
        assert await desk.count("usage") == 1


async def _refused_once(desk: Desk) -> None:
    """Another call finds the store away, so the settlement did, too: writes stand in one queue."""
    assert (await refused(desk.ask())).code is grpc.StatusCode.UNAVAILABLE
    assert (await refused(desk.ask())).code is grpc.StatusCode.UNAVAILABLE


async def test_a_stop_settles_what_is_under_way(tmp_path: Path) -> None:
    """A service that is stopped in the middle of an answer charges what came, and leaves nothing to expire."""
    async with desk_on(tmp_path) as desk:
        desk.far.script["big"] = [begins(*map(chunk, ["word " * 7] * 10))]
        call = desk.streaming()
        read = 0
        async for each in call:
            read += bool(each.text)
            if read == 10:
                break
        await desk.bench.stop()
        data = tmp_path / "data"
        assert _rows(data, "SELECT state, COUNT(*) FROM reservation GROUP BY state") == [(2, 1)]
        assert _rows(data, "SELECT output_tokens FROM usage") == [(100,)]
        assert _rows(data, "SELECT state FROM query") == [(State.STATE_FAILED,)]
        assert not _rows(data, "SELECT 1 FROM query WHERE state = 1")
        await desk.bench.start()


async def test_old_queries_are_forgotten(tmp_path: Path) -> None:
    """After `query_keep`, with the answers that were kept for repeats; those that run are not."""
    async with desk_on(tmp_path, reservation_sweep="1h", query_keep="10d") as desk:
        old, young = await desk.ask(request_id=new_id()), await desk.ask()
        running = new_id()
        eleven = timedelta(days=11) // timedelta(microseconds=1)
        desk.far.script["big"] = [waits]
        call = asyncio.create_task(desk.ask(request_id=running))
        await _eventually(lambda: _arrived(desk.far, 3))
        await desk.bench.host.db.write(
            lambda tx: tx.execute(
                "UPDATE query SET created_us = created_us - :eleven WHERE query_id <> :young",
                {"eleven": eleven, "young": young.account.query_id},
            )
        )
        knows = known.read(desk.bench.host.settings_of(ProviderSettings), {})
        await sweeping.clean(desk.bench.host, knows)
        assert old.account.query_id not in await desk.query_ids()
        assert len(await desk.query_ids()) == 2
        assert await sweeping.abandon_lost(desk.bench.host, knows) == 0, "its reservation is open, so it may run"
        call.cancel()
        await desk.settled()


async def _arrived(far: FarEnd, count: int) -> bool:
    return len(far.asked) >= count
