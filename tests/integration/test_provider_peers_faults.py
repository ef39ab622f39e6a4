"""What users of other gateways suffered from, by name, does not happen here: leaks among replicas, lost spend, locks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import burst_service_pb2 as bursts
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceStub
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from bench.provider.replicas import replicas
from mesh import migrations, testing
from mesh.clock import ManualClock
from mesh.db import Database
from services.provider.__main__ import build
from tests.integration.provider_bench import nanos, refusal, settings, usd
from tests.integration.reservations_bench import START, Caller, State, caller
from tests.support.mesh import ROOT

__all__ = ["caller", "settings"]


# what users of peers suffered from


async def test_concurrent_calls_cannot_bypass_a_budget(caller: Caller) -> None:
    """litellm#34732: a thousand calls of $0.10 at the same time against $5.00 admit exactly fifty."""
    await caller.limit("5")
    request = own.ReserveRequest(amount=usd("0.10"))
    made = await asyncio.gather(*(caller.reservations.Reserve(request) for _ in range(1000)), return_exceptions=True)
    admitted = [answer for answer in made if isinstance(answer, own.ReserveResponse)]
    assert len(admitted) == 50
    assert all(error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for error in made if isinstance(error, grpc.aio.AioRpcError))
    assert (await caller.standing()).reserved == usd("5")


async def test_a_user_nobody_has_seen_has_the_default_budget_too(caller: Caller) -> None:
    """litellm#40095: with a budget for each user the first call of an unknown one is bounded, and so is usage without a user."""
    await caller.limit("1", each="user")
    for user in ("never-seen", ""):
        code, info, _ = await refusal(caller.reservations.Reserve(own.ReserveRequest(amount=usd("1.01"), user_id=user)))
        assert (code, info.metadata["budgets"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "b")
    await caller.reserve("1", user_id="ada")
    await caller.reserve("1", user_id="bob")
    assert [(await caller.standing(holder=name)).reserved for name in ("ada", "bob", "eve")] == [usd("1"), usd("1"), usd("0")]


async def test_cached_tokens_are_charged_once(caller: Caller) -> None:
    """litellm#14849: they are part of the input tokens and have their own price; more of them than input is refused."""
    held = await caller.reserve("1", provider_id="acme", model="big")
    used = own.SettleRequest(reservation_id=held.reservation_id, input_tokens=1000, cached_input_tokens=400, output_tokens=100)
    settled = await caller.reservations.Settle(used)
    assert nanos(settled.reservation.cost) == 600 * 2000 + 400 * 500 + 100 * 10_000
    held = await caller.reserve("1", provider_id="acme", model="big")
    used = own.SettleRequest(reservation_id=held.reservation_id, input_tokens=1, cached_input_tokens=2)
    code, info, _ = await refusal(caller.reservations.Settle(used))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, "cached_input_tokens")


async def test_a_settlement_without_tokens_or_cost_is_not_forgotten(caller: Caller) -> None:
    """litellm#37923 recorded streamed calls as nothing: a settled call is a row of the ledger, with the cost that was told."""
    held = await caller.reserve("0.3", provider_id="acme", model="big")
    await caller.settle(held.reservation_id, "0.3")
    total = (await caller.provider.GetBudgetReport(api.GetBudgetReportRequest())).total
    assert (total.cost, total.calls) == (usd("0.3"), 1)


async def test_scopes_in_any_order_never_lock_each_other_out(caller: Caller) -> None:
    """litellm#6895, #27989: calls at the same time with the labels of many budgets in every order: all end, no sum is lost."""
    names = ["team", "key", "project", "tag", "user"]
    for name in names:
        await caller.limit("1000", name, scope=BudgetScope(labels={name: "x"}))

    async def call(number: int) -> None:
        order = names[number % 5 :] + names[: number % 5]
        held = await caller.reserve("1", labels=dict.fromkeys(order, "x"))
        await caller.settle(held.reservation_id, "0.5")

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(number) for number in range(200)))
    for name in names:
        standing = await caller.standing(name)
        assert (standing.spent, standing.reserved) == (usd("100"), usd("0"))


async def test_a_budget_does_not_leak_over_replicas(tmp_path: Path) -> None:
    """bifrost#3547: two processes on one file share it: a budget set by one, spent over both, admits as much as one would."""
    async with replicas(2, tmp_path / "var") as processes:
        providers = [ProviderServiceStub(process.channel) for process in processes]
        stubs = [ReservationServiceStub(process.channel) for process in processes]
        # the second has read its budgets before the first sets one
        await stubs[1].Reserve(own.ReserveRequest(amount=usd("0.10")))
        budget = Budget(budget_id="b", limit=usd("5"), mode=Budget.MODE_DENY)
        await providers[0].SetBudget(api.SetBudgetRequest(budget=budget))
        request = own.ReserveRequest(amount=usd("0.10"))
        calls = (stubs[number % 2].Reserve(request) for number in range(200))
        made = await asyncio.gather(*calls, return_exceptions=True)
        # one was open before
        assert sum(isinstance(answer, own.ReserveResponse) for answer in made) == 49
        for number, answer in enumerate(made):
            if isinstance(answer, own.ReserveResponse):
                # settled by the other process than it was reserved by
                used = own.SettleRequest(reservation_id=answer.reservation.reservation_id, cost=usd("0.10"))
                await stubs[(number + 1) % 2].Settle(used)
        standing = (await providers[1].GetBudget(api.GetBudgetRequest(budget_id="b"))).standing
        assert (standing.spent, standing.reserved) == (usd("4.9"), usd("0.1"))


async def _when_free(call: Callable[[Any], Awaitable[Any]], request: object) -> Any:
    """The answer of a call; with so short a time for a lock, one that the other process holds for its sync may be too long too."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call(request)
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.02)


async def test_a_store_that_is_away_for_a_while_ends_nothing(tmp_path: Path) -> None:
    """While somebody holds its lock calls are refused as UNAVAILABLE and let nothing through; afterwards both processes go on."""
    fast = {"TOOLOO_BUSY_TIMEOUT": "50ms", "TOOLOO_PROVIDER_LOOK_INTERVAL": "20ms", "TOOLOO_PROVIDER_RESERVATION_SWEEP": "20ms"}
    async with replicas(2, tmp_path / "var", fast) as processes:
        stubs = [ReservationServiceStub(process.channel) for process in processes]
        request = own.ReserveRequest(amount=usd("0.10"))
        held = (await _when_free(stubs[0].Reserve, request)).reservation
        lock = sqlite3.connect(tmp_path / "var" / "provider" / "provider.db", isolation_level=None, timeout=30)
        lock.execute("BEGIN IMMEDIATE")
        for number in range(10):
            code, _, _ = await refusal(stubs[number % 2].Reserve(request))
            assert code == grpc.StatusCode.UNAVAILABLE
        code, _, _ = await refusal(stubs[1].Settle(own.SettleRequest(reservation_id=held.reservation_id, cost=usd("0.10"))))
        assert code == grpc.StatusCode.UNAVAILABLE
        lock.execute("ROLLBACK")
        lock.close()
        for process, stub in zip(processes, stubs, strict=True):
            await _when_free(stub.Reserve, request)
            assert process.alive
        settled = await _when_free(stubs[1].Settle, own.SettleRequest(reservation_id=held.reservation_id, cost=usd("0.10")))
        assert settled.reservation.state == State.STATE_SETTLED


async def test_bursts_are_shared_by_replicas_and_survive_a_kill(tmp_path: Path) -> None:
    """Five calls an hour are five over two processes, and still after one of them was killed."""
    async with replicas(2, tmp_path / "var") as processes:
        policy = bursts.BurstPolicy(
            policy_id="five", measure=bursts.BurstPolicy.MEASURE_REQUESTS, rate=5, period=Duration(seconds=3600)
        )
        await BurstServiceStub(processes[0].channel).SetBurstPolicy(bursts.SetBurstPolicyRequest(policy=policy))
        stubs = [ReservationServiceStub(process.channel) for process in processes]
        for number in range(3):
            await stubs[number % 2].Reserve(own.ReserveRequest(amount=usd("0.10")))
        await processes[1].kill()
        await processes[1].start()
        stubs[1] = ReservationServiceStub(processes[1].channel)
        calls = (stubs[number % 2].Reserve(own.ReserveRequest(amount=usd("0.10"))) for number in range(10))
        made = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, own.ReserveResponse) for answer in made) == 2


async def test_what_was_recorded_before_there_were_reservations_is_carried_over(tmp_path: Path) -> None:
    """A file of the first schema: usage, budgets, spending, told thresholds and tightening mean the same afterwards."""
    path = tmp_path / "provider" / "provider.db"
    first = tmp_path / "first"
    first.mkdir()
    for migration in migrations.read("provider", ROOT / "services" / "provider" / "schema"):
        if migration.number == 1:
            (first / "0001_provider.sql").write_text(migration.sql)
    path.parent.mkdir()
    await (await Database.open(path, [("provider", first)])).close()
    month = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1_000_000)
    with sqlite3.connect(path) as old:
        old.execute("INSERT INTO budget VALUES ('b', 'Old', 'acme', '', 'ada', 3, 'UTC', 10000000000, '[50, 100]', 2, 0, 0, NULL)")
        old.execute("INSERT INTO budget_spend VALUES ('b', ?, 6000000000)", (month,))
        old.execute("INSERT INTO budget_alert VALUES ('b', ?, 50, 0)", (month,))
        old.execute("INSERT INTO tightening VALUES ('b', ?, 50)", (month,))
        old.execute("INSERT INTO usage VALUES ('u', ?, 'acme', 'big', 'ada', '', 1, 2, 0, 6, 0, 1, 0, 0)", (month + 5,))
    old.close()
    env = {"TOOLOO_PROVIDER_DEFAULT_BUDGET": ""}
    async with testing.running("provider", build, tmp_path, clock=ManualClock(START), settings=env) as bench:
        caller = Caller(bench, ManualClock(START))
        standing = await caller.standing()
        assert (standing.spent, list(standing.told_thresholds), standing.reserved) == (usd("6"), [50], usd("0"))
        assert (standing.budget.scope.user_id, standing.budget.window.kind) == ("ada", BudgetWindow.KIND_CALENDAR)
        code, info, _ = await refusal(
            caller.reservations.Reserve(own.ReserveRequest(amount=usd("4.01"), provider_id="acme", user_id="ada"))
        )
        assert (code, info.metadata["budgets"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "b")
        assert (await caller.limit("10", "anew", scope=BudgetScope(user_id="ada"))).spent == usd("6")
        assert await caller.told("budget.threshold_exceeded") == 1


async def test_what_matters_no_more_is_dropped(caller: Caller) -> None:
    """After a month an ended reservation, full buckets, slots of old windows and what was told of them are gone; the rest stays."""
    policy = bursts.BurstPolicy(policy_id="p", measure=bursts.BurstPolicy.MEASURE_REQUESTS, rate=5, period=Duration(seconds=60))
    await caller.bursts.SetBurstPolicy(bursts.SetBurstPolicyRequest(policy=policy))
    await caller.limit("100", "day", window=BudgetWindow(period=BudgetWindow.PERIOD_DAY))
    await caller.limit("100", "ever", window=BudgetWindow(kind=BudgetWindow.KIND_LIFETIME))
    await caller.limit("1", "told", mode=Budget.MODE_NOTIFY, thresholds=[100], window=BudgetWindow(period=BudgetWindow.PERIOD_DAY))
    done = await caller.reserve("1")
    await caller.settle(done.reservation_id, "1")
    for alert in [event for event in await caller.bench.told() if event.type == "budget.threshold_exceeded"]:
        await caller.bench.hear_event(alert)
    caller.clock.advance(timedelta(days=33))
    kept = await caller.reserve("1")
    await caller.settle(kept.reservation_id, "1")
    open_one = await caller.reserve("1")
    from services.provider.flows import known, sweeping  # noqa: PLC0415 # only here
    from services.provider.settings import ProviderSettings  # noqa: PLC0415 # only here

    host = caller.bench.host
    await sweeping.clean(host, known.read(host.settings_of(ProviderSettings), {}))
    code, _, _ = await refusal(caller.reservations.GetReservation(own.GetReservationRequest(reservation_id=done.reservation_id)))
    assert code == grpc.StatusCode.NOT_FOUND
    for reservation in (kept, open_one):
        await caller.reservations.GetReservation(own.GetReservationRequest(reservation_id=reservation.reservation_id))
    rows = await host.db.read(lambda tx: tx.fetch_all("SELECT budget_id FROM budget_account ORDER BY budget_id"))
    assert [row["budget_id"] for row in rows] == ["day", "ever", "told"]
    assert len(await host.db.read(lambda tx: tx.fetch_all("SELECT slot_us FROM budget_notice"))) == 1
    assert await host.db.read(lambda tx: tx.fetch_all("SELECT slot_us FROM budget_tightening")) == []
    assert (await caller.standing("ever")).spent == usd("2")
    total = (await caller.provider.GetBudgetReport(api.GetBudgetReportRequest())).total
    assert total.calls == 1
