"""The books balance: whatever is answered, fails or hangs up, ledger, reservations and budgets agree to the nano-unit."""

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tooloo.provider.v1.budget_pb2 import Budget

from tests.integration.completing_bench import (
    BIG,
    DONE,
    MID,
    SMALL,
    TEN,
    Reply,
    begins,
    chunk,
    desk_on,
    event,
    fails,
    nanos,
    says,
    sends,
    usage_alone,
    waits,
)

# every way to answer and to fail, as often as each is listed
_WAYS: Sequence[Reply] = (
    *[says([TEN] * 3)] * 4,
    says([TEN] * 40, usage=None),
    says(usage=(0, 0)),
    fails(429, "retry-after-ms: 1"),
    fails(429),
    fails(401),
    fails(402),
    fails(404),
    fails(503),
    fails(400),
    fails(400, code="context_length_exceeded"),
    fails(400, code="content_filter"),
    lambda far: far.answer(200, b"<html>"),
    sends(ends=False),
    sends(chunk(TEN), ends=False),
    sends(*map(chunk, [TEN] * 30), chunk(finish="stop"), usage_alone((6, 300)), DONE),
    sends(chunk(TEN), event({"error": {"message": "overloaded", "type": "server_error"}})),
    begins(chunk(TEN)),
    waits,
)


_OVERRUN = "SELECT COALESCE(SUM(cost_nanos - amount_nanos), 0) AS overrun FROM reservation WHERE cost_nanos > amount_nanos"


async def test_the_books_balance_whatever_happens(tmp_path: Path) -> None:
    """Models that fail in every way, chains, keys, budgets that are thin, callers who leave and who are short of time.

    Afterwards nothing is open, and ledger, budgets, queries and events agree to the nano unit; a query is charged at most once.
    """
    seed = int(os.environ.get("TOOLOO_TEST_SEED", "20261126"))
    chance = random.Random(seed)
    brief = dict.fromkeys(("rate_limited", "quota", "unauthenticated", "not_found", "longest"), "1ms")
    rests: dict[str, Any] = {f"cooldown_{name}": length for name, length in brief.items()}
    async with desk_on(tmp_path, top_up_tokens="20", breaker_in_row="1000", breaker_ratio="1", **rests) as desk:
        for model in ("big", "mid", "small"):
            desk.far.script[model] = [chance.choice(_WAYS) for _ in range(600)]
        await desk.add_key("acme", "key-a", 2)
        await desk.add_key("acme", "key-b", 1)
        await desk.chain("default", general=[MID, SMALL])
        await desk.limit("0.1", "all")
        await desk.limit("0.01", "degrade", Budget.MODE_DEGRADE, scope={"provider_id": "acme", "model": "big"})
        await desk.limit("0.06", "each", each="user")
        tasks: list[asyncio.Task[object]] = []
        for number in range(150):
            fields = {"user_id": chance.choice(["ada", "bob"]), "seconds": chance.choice([0.15, 1, 2]), "request_id": ""}
            call = desk.stream if chance.random() < 0.6 else desk.ask
            tasks.append(asyncio.create_task(call(chance.choice(["auto", BIG, SMALL]), text=f"number {number}", **fields)))
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.003]))
            if chance.random() < 0.2:
                chance.choice(tasks).cancel()
        await asyncio.sleep(0.2)
        for task in tasks:
            if chance.random() < 0.3:
                task.cancel()
        await asyncio.wait(tasks)
        await desk.settled()
        queries = [await desk.query(each) for each in await desk.query_ids()]
        spent = sum(nanos(query.account.cost) for query in queries)
        standing, total = await desk.standing("all"), (await desk.report()).total
        assert (nanos(standing.spent), nanos(standing.reserved)) == (spent, 0), f"seed {seed}"
        assert nanos(total.cost) == spent, f"seed {seed}"
        assert total.calls <= len(queries)
        done = [*await desk.told("provider.query.completed"), *await desk.told("provider.query.failed")]
        assert sum(nanos(each.cost) for each in done) == spent
        assert sorted(each.query_id for each in done) == sorted(query.account.query_id for query in queries)
        assert not await desk.told("budget.reservation.expired")
        assert not await desk.told("budget.reservation.reconciled")
        for query in queries:
            said = query.account.usage.output_tokens
            assert (nanos(query.account.cost) > 0) == (said > 0 or query.account.usage.input_tokens > 0)
        [row] = await desk.bench.host.db.read(lambda tx: tx.fetch_all(_OVERRUN))
        assert spent <= 100_000_000 + row["overrun"], "beyond the true overrun of calls in flight"
        assert len(done) > 10, "most of it never began"
