"""Queries whose process is killed: they are given up when it is seen and told, and no money is lost or counted twice."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

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
from mesh.owner import FOLDER
from services.provider.flows import known, sweeping
from services.provider.settings import ProviderSettings
from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    TEN,
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
    words_of,
)
from tests.integration.remote_bench import Far, far_end

State = api.GetQueryResponse
M = TypeVar("M", bound=Message)
MINUTE = 60
# nothing ends by its time, and nobody looks but who starts
NEVER = {"reservation_sweep": "1h"}


def _held(go: asyncio.Event) -> Reply:
    """Answers when it may."""

    async def reply(far: Far) -> None:
        await go.wait()
        await says()(far)

    return reply


def _request(kind: type[Message], request_id: str) -> Any:
    return asked(kind, BIG, "hello", seconds=MINUTE, request_id=request_id)


async def _ask(process: Process, request_id: str = "") -> tuple[str, api.QueryAccount]:
    """A whole answer: what was said, and its account."""
    answer = await CompletionServiceStub(process.channel).Complete(_request(api.CompleteRequest, request_id))
    return answer.message.text, answer.account


async def _stream(process: Process, request_id: str = "") -> tuple[str, api.QueryAccount]:
    """The same of a stream."""
    call = CompletionServiceStub(process.channel).StreamComplete(_request(api.StreamCompleteRequest, request_id))
    events = [event async for event in call]
    return words_of(events), events[-1].completed.account


async def _state(process: Process, query_id: object) -> State.State.ValueType:
    return (await CompletionServiceStub(process.channel).GetQuery(api.GetQueryRequest(query_id=str(query_id)))).state


async def _is(process: Process, query_id: object, state: State.State.ValueType) -> bool:
    return await _state(process, query_id) == state


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


async def _refused_while_it_runs(call: Awaitable[object], query_id: object) -> None:
    """A repeat is refused by the name of the query that still runs, and told when to come again."""
    put_off = await refused(call)
    assert (put_off.code, put_off.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert f"query {query_id} of this request id still runs" in put_off.message
    assert put_off.retry_after == timedelta(seconds=1)


@pytest.mark.parametrize("streamed", [False, True])
async def test_killed_between_call_and_settlement(tmp_path: Path, streamed: bool) -> None:
    """When its service is back nothing is held, all of it is told, and the caller's repeat runs at once and is charged once."""
    far, data, request_id = FarEnd(), tmp_path / "data", new_id()
    far.script["big"] = [waits]
    ask = _stream if streamed else _ask
    async with far_end(far.answer) as server, replicas(1, data, settings_for(server.url, tmp_path, **NEVER)) as [process]:
        await _limit(process, 10**9)
        call = asyncio.create_task(ask(process, request_id))
        await far.arrived.wait()
        held = nanos((await _standing(process)).reserved)
        assert held > 0
        [(query_id,)] = _rows(data, "SELECT query_id FROM query")
        await _refused_while_it_runs(ask(process, request_id), query_id)
        await process.kill()
        await asyncio.wait([call])
        await process.start()
        assert await _state(process, query_id) == State.STATE_EXPIRED
        standing = await _standing(process)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (0, 0)
        [told] = _told(data, BudgetReservationExpired)
        assert (told.reservation_id, nanos(told.amount)) == (query_id, held)
        assert told.create_time.ToDatetime() < told.expire_time.ToDatetime() < told.create_time.ToDatetime() + timedelta(minutes=1)
        assert [(each.query_id, each.failure) for each in _told(data, ProviderQueryFailed)] == [(query_id, FAILURE_KIND_LOST)]
        text, account = await ask(process, request_id)
        assert text == "".join(WORDS)
        assert account.query_id != query_id
        assert await ask(process, request_id) == (text, account)
        standing = await _standing(process)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)
        assert _rows(data, "SELECT COUNT(*), SUM(cost_nanos) FROM usage") == [(1, COST_OF_BIG)]
        assert len(far.asked) == 2


async def test_what_had_come_of_a_long_answer_is_charged(tmp_path: Path) -> None:
    """So much is known of a stream that had set more aside; the rest of that is free, and the repeat is a call of its own."""
    far, data, request_id = FarEnd(), tmp_path / "data", new_id()
    far.script["big"] = [begins(*map(chunk, [TEN] * 300))]
    async with far_end(far.answer) as server, replicas(1, data, settings_for(server.url, tmp_path, **NEVER)) as [process]:
        await _limit(process, 10**9)
        call = CompletionServiceStub(process.channel).StreamComplete(_request(api.StreamCompleteRequest, request_id))
        read = 0
        async for each in call:
            read += len(each.text) // len(TEN)
            if read == 300:
                break
        [(query_id, reserved)] = _rows(data, "SELECT reservation_id, output_tokens FROM reservation")
        await process.kill()
        await process.start()
        [(output, cost, selection_id)] = _rows(data, "SELECT output_tokens, cost_nanos, selection_id FROM usage")
        assert selection_id == query_id
        # 500 tokens are set aside at first, then as many again, which was when more than 500 had come; 3,000 in all
        assert 500 <= int(str(output)) <= 3000
        assert int(str(output)) < int(str(reserved))
        [(told, detail)] = [(nanos(each.cost), each.failure) for each in _told(data, ProviderQueryFailed)]
        assert (told, detail) == (cost, FAILURE_KIND_LOST)
        found = await CompletionServiceStub(process.channel).GetQuery(api.GetQueryRequest(query_id=str(query_id)))
        assert (found.state, nanos(found.account.cost)) == (State.STATE_EXPIRED, cost)
        assert (found.account.usage.output_tokens, found.account.usage_estimated) == (output, True)
        standing = await _standing(process)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (cost, 0)
        await _stream(process, request_id)
        assert nanos((await _standing(process)).spent) == int(str(cost)) + COST_OF_BIG
        assert _rows(data, "SELECT COUNT(*), SUM(cost_nanos) FROM usage") == [(2, int(str(cost)) + COST_OF_BIG)]


async def test_a_death_that_nobody_sees(tmp_path: Path) -> None:
    """Without the file that shows it, say because the disk was full: the reservation ends by its time, and then the query."""
    far, data, request_id = FarEnd(), tmp_path / "data", new_id()
    far.script["big"] = [waits]
    quick = {"settle_grace": "5s", "reservation_sweep": "100ms"}
    async with far_end(far.answer) as server, replicas(1, data, settings_for(server.url, tmp_path, **quick)) as [process]:
        await _limit(process, 10**9)
        call = asyncio.create_task(_ask(process, request_id))
        await far.arrived.wait()
        await process.kill()
        await asyncio.wait([call])
        for file in (data / "provider" / FOLDER).iterdir():
            file.unlink()
        await process.start()
        [(query_id,)] = _rows(data, "SELECT query_id FROM query")
        assert nanos((await _standing(process)).reserved) > 0
        await _refused_while_it_runs(_ask(process, request_id), query_id)
        _pass_time(data)
        await _eventually(lambda: _is(process, query_id, State.STATE_EXPIRED))
        standing = await _standing(process)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (0, 0)
        assert [each.reservation_id for each in _told(data, BudgetReservationExpired)] == [query_id]
        assert [(each.query_id, each.failure) for each in _told(data, ProviderQueryFailed)] == [(query_id, FAILURE_KIND_LOST)]
        await _ask(process, request_id)
        assert nanos((await _standing(process)).spent) == COST_OF_BIG


async def test_two_replicas_behind_one_budget(tmp_path: Path) -> None:
    """Ten fit at the same time, whoever of the two is asked; one of them is killed, and the other gives back what that one held."""
    far, data, go = FarEnd(), tmp_path / "data", asyncio.Event()
    far.script["big"] = [_held(go) for _ in range(40)]
    quick = {"reservation_sweep": "100ms"}
    async with far_end(far.answer) as server, replicas(2, data, settings_for(server.url, tmp_path, **quick)) as [one, other]:
        await _limit(one, 10**9)
        first = new_id()
        calls = [asyncio.create_task(_ask(one, first))]
        await far.arrived.wait()
        [(query_id,)] = _rows(data, "SELECT query_id FROM query")
        share = nanos((await _standing(other)).reserved)
        await _limit(one, 10 * share)
        # one each for certain, the rest as it comes
        calls += [asyncio.create_task(_ask(other))]
        await _eventually(lambda: _arrived(far, 2))
        calls += [asyncio.create_task(_ask(process)) for process in [one, *[one, other] * 14]]

        async def decided() -> bool:
            return sum(call.done() for call in calls) == 21 and len(far.asked) == 10

        await _eventually(decided)
        assert nanos((await _standing(other)).reserved) == 10 * share
        await _refused_while_it_runs(_ask(other, first), query_id)
        await one.kill()
        await _eventually(lambda: _is(other, query_id, State.STATE_EXPIRED))
        lost = len(_told(data, BudgetReservationExpired))
        assert 0 < lost < 10
        assert nanos((await _standing(other)).reserved) == (10 - lost) * share, "what the other one runs stands"
        go.set()
        await asyncio.wait(calls)
        answered = [call.result() for call in calls if call.exception() is None]
        assert len(answered) == 10 - lost
        assert len(far.asked) == 10
        assert (await _ask(other, first))[0] == "".join(WORDS), "a repeat runs where the other one still is"
        standing = await _standing(other)
        assert (nanos(standing.spent), nanos(standing.reserved)) == ((len(answered) + 1) * COST_OF_BIG, 0)
        assert _rows(data, "SELECT COUNT(*) FROM usage") == [(len(answered) + 1,)]
        assert _rows(data, "SELECT state, COUNT(*) FROM query GROUP BY state ORDER BY state") == [
            (State.STATE_COMPLETED, len(answered) + 1),
            (State.STATE_EXPIRED, lost),
        ]
        codes = [error.code() for call in calls if isinstance(error := call.exception(), grpc.aio.AioRpcError)]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 21


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_living_replica_runs_is_never_given_back(tmp_path: Path, streamed: bool) -> None:
    """Not when another one starts, nor while it stands still (SIGSTOP): a repeat is put off, and its answer is charged once."""
    far, data, go = FarEnd(), tmp_path / "data", asyncio.Event()
    far.script["big"] = [_held(go)]
    ask, request_id = _stream if streamed else _ask, new_id()
    quick = {"reservation_sweep": "50ms"}
    async with far_end(far.answer) as server, replicas(2, data, settings_for(server.url, tmp_path, **quick)) as [one, other]:
        await _limit(one, 10**9)
        call = asyncio.create_task(ask(one, request_id))
        await far.arrived.wait()
        [(query_id,)] = _rows(data, "SELECT query_id FROM query")
        os.kill(one.pid, signal.SIGSTOP)
        try:
            await other.kill()
            await other.start()
            # a look of the one that has just come, at least
            await asyncio.sleep(0.5)
            assert await _state(other, query_id) == State.STATE_RUNNING
            assert nanos((await _standing(other)).reserved) > 0
            await _refused_while_it_runs(ask(other, request_id), query_id)
        finally:
            os.kill(one.pid, signal.SIGCONT)
        go.set()
        text, account = await call
        assert (text, account.query_id) == ("".join(WORDS), query_id)
        assert await ask(other, request_id) == (text, account)
        standing = await _standing(other)
        assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)
        assert not _told(data, BudgetReservationExpired)
        assert len(far.asked) == 1


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
