"""kill -9 of replicas of the provider under callers who repeat by the same key: each is answered, and the money adds up.

`make test` kills 3 times, `make chaos` as often as TOOLOO_CHAOS_PROVIDER_KILLS says. The seed is printed; TOOLOO_TEST_SEED
repeats it.
"""

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import grpc
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from bench.provider.replicas import Process, replicas
from mesh.ids import new_id
from tests.integration.completing_bench import BIG, DONE, TEN, asked, body_of, chunk, nanos, says, settings_for, usage_alone, usd
from tests.integration.remote_bench import Far, far_end
from tests.robustness.chance import dice, how_many

KILLS = how_many("TOOLOO_CHAOS_PROVIDER_KILLS", 3)
CALLERS, PIECES = 6, 120
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def _slowly(far: Far) -> None:
    """Takes half a second, and as a stream sets more aside meanwhile."""
    if not body_of(far).get("stream"):
        await asyncio.sleep(0.5)
        await says([TEN] * PIECES, (11, 10 * PIECES))(far)
        return
    await far.begin()
    for _ in range(PIECES // 10):
        await far.chunk(chunk(TEN) * 10)
        await asyncio.sleep(0.05)
    await far.chunk(chunk(finish="stop") + usage_alone((11, 10 * PIECES)) + DONE)
    await far.chunk(b"")


async def _answered(processes: list[Process], chance: random.Random, request_id: str, *, streamed: bool) -> str:
    """Asks either replica until one answers, always by the same key; gives what was said."""
    while True:
        fields: dict[str, Any] = {"seconds": 60, "request_id": request_id}
        try:
            stub = CompletionServiceStub(chance.choice(processes).channel)
            if not streamed:
                answer = await stub.Complete(asked(api.CompleteRequest, BIG, "hello", **fields))
                return str(answer.message.text)
            events = [each async for each in stub.StreamComplete(asked(api.StreamCompleteRequest, BIG, "hello", **fields))]
            if events and events[-1].HasField("completed"):
                return "".join(each.text for each in events)
        except grpc.aio.AioRpcError as error:
            if error.code() not in AGAIN:
                raise
        await asyncio.sleep(0.1)


async def test_repeats_are_answered_and_the_money_adds_up(tmp_path: Path) -> None:
    """Every key has one answer; ledger, queries and budget say the same; nothing is held, and nothing runs."""
    chance, data = dice(f"{KILLS} kills of provider replicas"), tmp_path / "data"
    over = asyncio.Event()
    keys: list[str] = []

    async def calls(number: int, processes: list[Process], own: random.Random) -> None:
        while not over.is_set():
            keys.append(new_id())
            assert await _answered(processes, own, keys[-1], streamed=number % 2 == 0) == TEN * PIECES

    async with far_end(_slowly) as server, replicas(2, data, settings_for(server.url, tmp_path)) as processes:
        budget = Budget(budget_id="b", limit=usd("1000"), mode=Budget.MODE_DENY)
        await ProviderServiceStub(processes[0].channel).SetBudget(provider_api.SetBudgetRequest(budget=budget))
        callers = [asyncio.create_task(calls(number, processes, random.Random(chance.random()))) for number in range(CALLERS)]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            victim = chance.choice(processes)
            await victim.kill()
            await victim.start()
        over.set()
        async with asyncio.timeout(300):
            await asyncio.gather(*callers)
        standing = (
            await ProviderServiceStub(processes[0].channel).GetBudget(provider_api.GetBudgetRequest(budget_id="b"))
        ).standing
    with sqlite3.connect(data / "provider" / "provider.db") as file:
        [(ledger,)] = file.execute("SELECT SUM(cost_nanos) FROM usage").fetchall()
        [(said, running)] = file.execute("SELECT SUM(cost_nanos), COUNT(*) FILTER (WHERE state = 1) FROM query").fetchall()
        [(open_ones,)] = file.execute("SELECT COUNT(*) FROM reservation WHERE state = 1").fetchall()
        answered = [key for (key,) in file.execute("SELECT request_id FROM query WHERE state = 2").fetchall()]
        [(lost,)] = file.execute("SELECT COUNT(*) FROM query WHERE state = 4").fetchall()
    print(f"{len(keys)} keys, {lost} queries lost, {said} charged")
    assert sorted(answered) == sorted(keys)
    assert (nanos(standing.spent), nanos(standing.reserved)) == (ledger, 0)
    assert (said, running, open_ones) == (ledger, 0, 0)
