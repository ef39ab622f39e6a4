"""Reservations as callers meet them: real server, real SQLite file; every refusal, top-ups, expiry and late settlements."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.provider_events_pb2 import BudgetReservationExpired, BudgetReservationReconciled

from mesh.ids import new_id
from tests.integration.provider_bench import nanos, refusal, settings, usd
from tests.integration.reservations_bench import START, Caller, State, caller, details

__all__ = ["caller", "settings"]


async def test_the_life_of_a_reservation(caller: Caller) -> None:
    """Reserved, extended, settled with less: what was held is free, what was spent is in ledger and budget, once."""
    await caller.limit("10")
    held = await caller.reserve("4", user_id="ada", labels={"team": "red"}, input_tokens=10)
    assert (held.state, dict(held.labels), held.amount) == (State.STATE_OPEN, {"user": "ada", "team": "red"}, usd("4"))
    standing = await caller.standing()
    assert (standing.reserved, standing.spent, standing.remaining) == (usd("4"), usd("0"), usd("10"))
    more = await caller.reservations.Extend(own.ExtendRequest(reservation_id=held.reservation_id, amount=usd("2")))
    assert more.reservation.amount == usd("6")
    first = await caller.settle(held.reservation_id, "1.5", input_tokens=100, output_tokens=20)
    again = await caller.settle(held.reservation_id, "9")
    assert first == again
    assert (first.reservation.state, first.reservation.cost, first.overrun) == (State.STATE_SETTLED, usd("1.5"), usd("0"))
    standing = await caller.standing()
    assert (standing.reserved, standing.spent) == (usd("0"), usd("1.5"))
    report = await caller.provider.GetBudgetReport(api.GetBudgetReportRequest(group_by="team"))
    assert [(row.key, row.cost, row.calls) for row in report.rows] == [("red", usd("1.5"), 1)]
    kept = await caller.reservations.GetReservation(own.GetReservationRequest(reservation_id=held.reservation_id))
    assert kept.reservation == first.reservation


async def test_what_does_not_fit_is_refused_by_every_name(caller: Caller) -> None:
    """Two of three budgets deny: both are named, with what is affordable, and how long until the later window's end."""
    day = BudgetWindow(period=BudgetWindow.PERIOD_DAY)
    await caller.limit("5", "all")
    await caller.limit("1.2", "red", scope=BudgetScope(labels={"team": "red"}), window=day)
    await caller.limit("1", "ada", scope=BudgetScope(user_id="ada"), window=day)
    await caller.reserve("0.5", user_id="ada", labels={"team": "red"})
    code, info, error = await refusal(
        caller.reservations.Reserve(own.ReserveRequest(amount=usd("0.9"), user_id="ada", labels={"team": "red"}))
    )
    assert (code, info.reason, info.metadata["budgets"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_SPENT", "ada,red")
    assert info.metadata["affordable"] == "0.50"
    assert details(error) == (["budget/ada", "budget/red"], timedelta(hours=14))
    # nothing of it is held anywhere
    assert [(await caller.standing(name)).reserved for name in ("all", "red", "ada")] == [usd("0.5")] * 3


async def test_a_window_that_never_ends_gives_no_hope(caller: Caller) -> None:
    """No RetryInfo for a lifetime's budget, nor for a call dearer than the limit."""
    await caller.limit("1", "ever", window=BudgetWindow(kind=BudgetWindow.KIND_LIFETIME))
    for amount in ("1.01", "5"):
        _, _, error = await refusal(caller.reservations.Reserve(own.ReserveRequest(amount=usd(amount))))
        assert details(error) == (["budget/ever"], None)


async def test_a_rolling_budget_frees_bit_by_bit(caller: Caller) -> None:
    """Refused until exactly when the oldest sixtieth has rolled out, which RetryInfo names."""
    hour = BudgetWindow(kind=BudgetWindow.KIND_ROLLING, length=Duration(seconds=3600))
    await caller.limit("1", window=hour)
    await caller.settle((await caller.reserve("0.6")).reservation_id, "0.6")
    caller.clock.advance(timedelta(minutes=30))
    await caller.settle((await caller.reserve("0.4")).reservation_id, "0.4")
    _, _, error = await refusal(caller.reservations.Reserve(own.ReserveRequest(amount=usd("0.5"))))
    _, wait = details(error)
    assert wait == timedelta(minutes=31)
    caller.clock.advance(wait - timedelta(microseconds=1))
    await refusal(caller.reservations.Reserve(own.ReserveRequest(amount=usd("0.5"))))
    caller.clock.advance(timedelta(microseconds=1))
    await caller.reserve("0.5")
    standing = await caller.standing()
    assert (standing.spent, standing.reserved) == (usd("0.4"), usd("0.5"))


async def test_a_degrading_budget_asks_for_a_cheaper_model(caller: Caller) -> None:
    """In reservations BUDGET_DEGRADES with what is affordable, and free calls go on; in selection dear models are out."""
    await caller.limit("1", mode=Budget.MODE_DEGRADE)
    await caller.settle((await caller.reserve("0.999")).reservation_id, "0.999")
    code, info, _ = await refusal(caller.reservations.Reserve(own.ReserveRequest(amount=usd("0.1"))))
    assert (code, info.reason, info.metadata["affordable"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_DEGRADES", "0.001")
    answer = await caller.provider.SelectProvider(api.SelectProviderRequest(estimated_tokens=1000, high_quality=True))
    assert {item.model for item in answer.candidates if item.exclusion} == {"big"}
    await caller.settle((await caller.reserve("0.001")).reservation_id, "0.5")
    answer = await caller.provider.SelectProvider(api.SelectProviderRequest(estimated_tokens=1000, high_quality=True))
    assert {item.model for item in answer.candidates if item.exclusion} == {"big", "small"}
    assert answer.model == "gift"
    assert (await caller.reserve("0", provider_id="brim", model="gift")).amount == usd("0")


async def test_what_is_reserved_keeps_others_out_of_selection_and_checks(caller: Caller) -> None:
    """A running call counts: CheckBudget and SelectProvider see it."""
    await caller.limit("1", scope=BudgetScope(provider_id="acme"))
    held = await caller.reserve("1", provider_id="acme", model="big")
    check = await caller.provider.CheckBudget(api.CheckBudgetRequest(provider_id="acme", cost=usd("0.01")))
    assert (check.allowed, list(check.denied_by)) == (False, ["b"])
    assert (await caller.provider.SelectProvider(api.SelectProviderRequest(high_quality=True))).model == "gift"
    await caller.reservations.Release(own.ReleaseRequest(reservation_id=held.reservation_id))
    assert (await caller.provider.SelectProvider(api.SelectProviderRequest(high_quality=True))).model == "big"


async def test_a_reservation_of_a_clock_that_was_ahead_expires_all_the_same(caller: Caller) -> None:
    """Once the clock is put right its whole time begins anew: money is not held for as long as the clock had been ahead."""
    await caller.limit("1")
    await caller.reserve("1", ttl=Duration(seconds=60))
    caller.clock.advance(-timedelta(days=1))
    for seconds, held in ((59, "1"), (1, "0")):
        await caller.expire()
        caller.clock.advance(timedelta(seconds=seconds))
        await caller.expire()
        assert (await caller.standing()).reserved == usd(held)


async def test_what_expires_is_free_told_and_settled_late(caller: Caller) -> None:
    """After its time it holds nothing and is told once; a settlement that comes then is recorded and told as reconciled."""
    await caller.limit("1")
    held = await caller.reserve("1", ttl=Duration(seconds=60), user_id="ada")
    caller.clock.advance(timedelta(seconds=59))
    await caller.expire()
    assert (await caller.standing()).reserved == usd("1")
    caller.clock.advance(timedelta(seconds=1))
    await caller.expire()
    await caller.bench.restart()
    await caller.expire()
    assert (await caller.standing()).reserved == usd("0")
    await caller.reserve("0.9")
    late = await caller.settle(held.reservation_id, "1.2")
    assert (late.reservation.late, late.reservation.cost) == (True, usd("1.2"))
    standing = await caller.standing()
    assert (standing.spent, standing.reserved) == (usd("1.2"), usd("0.9"))
    expired, reconciled = BudgetReservationExpired(), BudgetReservationReconciled()
    events = [event for event in await caller.bench.told() if event.type.startswith("budget.reservation")]
    assert [event.type for event in events] == ["budget.reservation.expired", "budget.reservation.reconciled"]
    assert events[0].data.Unpack(expired)
    assert events[1].data.Unpack(reconciled)
    assert (expired.amount, dict(expired.labels)) == (usd("1"), {"user": "ada"})
    assert (reconciled.cost, reconciled.usage_id) == (usd("1.2"), late.reservation.usage_id)


async def test_a_call_that_outlives_a_rolling_window_can_still_be_extended(caller: Caller) -> None:
    """What it held counts no more in the hour, but in the budget of everything; more is let through while there is room."""
    await caller.limit("2", "hour", window=BudgetWindow(kind=BudgetWindow.KIND_ROLLING, length=Duration(seconds=3600)))
    await caller.limit("10", "ever", window=BudgetWindow(kind=BudgetWindow.KIND_LIFETIME))
    held = await caller.reserve("1", ttl=Duration(seconds=86400))
    caller.clock.advance(timedelta(minutes=62))
    await caller.reservations.Extend(own.ExtendRequest(reservation_id=held.reservation_id, amount=usd("1.5")))
    assert ((await caller.standing("ever")).reserved, (await caller.standing("hour")).reserved) == (usd("2.5"), usd("0"))
    _, info, _ = await refusal(caller.reservations.Extend(own.ExtendRequest(reservation_id=held.reservation_id, amount=usd("2.1"))))
    assert info.metadata["budgets"] == "hour"


async def test_what_is_free_already_is_not_freed_twice(caller: Caller) -> None:
    """An expired reservation that is released, or settled, takes nothing from what another one holds."""
    await caller.limit("10")
    expired = [await caller.reserve("1", ttl=Duration(seconds=1)) for _ in range(2)]
    caller.clock.advance(timedelta(seconds=1))
    await caller.expire()
    await caller.reserve("4")
    await caller.reservations.Release(own.ReleaseRequest(reservation_id=expired[0].reservation_id))
    await caller.settle(expired[1].reservation_id, "2")
    standing = await caller.standing()
    assert (standing.reserved, standing.spent) == (usd("4"), usd("2"))


async def test_a_settlement_belongs_to_the_window_of_its_reservation(caller: Caller) -> None:
    """Reserved before midnight, settled after: the day before has it, in budget and report, also in a budget that is made anew."""
    day = BudgetWindow(period=BudgetWindow.PERIOD_DAY)
    await caller.limit("5", window=day)
    held = await caller.reserve("2", ttl=Duration(seconds=86400))
    caller.clock.advance(timedelta(hours=15))
    assert (await caller.standing()).reserved == usd("0")
    await caller.settle(held.reservation_id, "2")
    assert (await caller.standing()).spent == usd("0")
    assert (await caller.limit("5", "anew", window=day)).spent == usd("0")
    report = await caller.provider.GetBudgetReport(api.GetBudgetReportRequest(group_by="day"))
    assert [(row.key, row.cost) for row in report.rows] == [("2026-11-22", usd("2"))]


async def test_what_has_ended_cannot_go_on(caller: Caller) -> None:
    """Settled: no release, no extension. Released: again is fine, an extension is not. Unknown: NOT_FOUND."""
    settled, released = await caller.reserve("1"), await caller.reserve("1")
    await caller.settle(settled.reservation_id, "1")
    for _ in range(2):
        await caller.reservations.Release(own.ReleaseRequest(reservation_id=released.reservation_id))
    for call in (
        caller.reservations.Release(own.ReleaseRequest(reservation_id=settled.reservation_id)),
        caller.reservations.Extend(own.ExtendRequest(reservation_id=settled.reservation_id)),
        caller.reservations.Extend(own.ExtendRequest(reservation_id=released.reservation_id)),
    ):
        code, info, _ = await refusal(call)
        assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_FORBIDS")
    missing: list[Any] = [
        caller.settle(new_id(), "1"),
        caller.reservations.Release(own.ReleaseRequest(reservation_id=new_id())),
        caller.reservations.GetReservation(own.GetReservationRequest(reservation_id=new_id())),
    ]
    for call in missing:
        code, _, _ = await refusal(call)
        assert code == grpc.StatusCode.NOT_FOUND


async def test_a_top_up_that_does_not_fit_leaves_what_was_reserved(caller: Caller) -> None:
    """By tokens at list price; refused by name; more time alone is always given."""
    await caller.limit("0.002")
    held = (
        await caller.reservations.Reserve(own.ReserveRequest(provider_id="acme", model="big", input_tokens=100, output_tokens=100))
    ).reservation
    assert nanos(held.amount) == 100 * 2000 + 100 * 10_000
    more = own.ExtendRequest(reservation_id=held.reservation_id, output_tokens=50)
    assert nanos((await caller.reservations.Extend(more)).reservation.amount) == 1_700_000
    code, info, _ = await refusal(caller.reservations.Extend(more))
    assert (code, info.metadata["budgets"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "b")
    longer = own.ExtendRequest(reservation_id=held.reservation_id, ttl=Duration(seconds=3600))
    after = (await caller.reservations.Extend(longer)).reservation
    assert (nanos(after.amount), after.expire_time.ToDatetime(UTC)) == (1_700_000, START + timedelta(hours=1))


async def test_the_same_request_id_reserves_once_and_a_dry_run_nothing(caller: Caller) -> None:
    """The first answer again; another request under the same id is refused; a dry run shows how budgets stand."""
    await caller.limit("1")
    request = own.ReserveRequest(amount=usd("0.6"), request_id=new_id())
    answers = [await caller.reservations.Reserve(request) for _ in range(2)]
    assert answers[0] == answers[1]
    dry = await caller.reservations.Reserve(own.ReserveRequest(amount=usd("0.4"), dry_run=True))
    assert (dry.reservation.reservation_id, [item.reserved for item in dry.budgets]) == ("", [usd("0.6")])
    assert (await caller.standing()).reserved == usd("0.6")
    code, _, _ = await refusal(caller.reservations.Reserve(own.ReserveRequest(amount=usd("0.5"), dry_run=True)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    other = own.ReserveRequest(amount=usd("0.1"), request_id=request.request_id)
    code, _, _ = await refusal(caller.reservations.Reserve(other))
    assert code == grpc.StatusCode.ALREADY_EXISTS


async def test_open_reservations_are_listed_by_label_and_page(caller: Caller) -> None:
    """Only open ones, the first to expire first, filtered, over pages."""
    made = [await caller.reserve("1", labels={"team": team}) for team in ("red", "blue", "red", "red")]
    await caller.settle(made[2].reservation_id, "1")
    found, token = [], ""
    while True:
        page = await caller.reservations.ListReservations(
            own.ListReservationsRequest(labels=["team=red"], page_size=1, page_token=token)
        )
        found += [item.reservation_id for item in page.reservations]
        token = page.next_page_token
        if not token:
            break
    assert found == [made[0].reservation_id, made[3].reservation_id]


async def test_estimates_are_learned_and_shown(caller: Caller) -> None:
    """Forty settled calls of 40 tokens bring what is reserved from the default near to that; the list says how right it was."""
    request = own.ReserveRequest(provider_id="acme", model="big", user_id="ada", input_tokens=10)
    first = (await caller.reservations.Reserve(request)).reservation
    assert first.output_tokens >= 500
    for _ in range(40):
        held = (await caller.reservations.Reserve(request)).reservation
        used = own.SettleRequest(reservation_id=held.reservation_id, input_tokens=10, output_tokens=40)
        await caller.reservations.Settle(used)
    assert 40 <= (await caller.reservations.Reserve(request)).reservation.output_tokens < 200
    listed = await caller.reservations.ListEstimates(own.ListEstimatesRequest(provider_id="acme"))
    assert [(item.model, item.user_id, item.calls) for item in listed.estimates] == [("big", "", 40), ("big", "ada", 40)]
    assert listed.estimates[0].typical_output_tokens == pytest.approx(40, rel=0.01)
    assert listed.estimates[0].covered > 0.9
    bounded = own.ReserveRequest(provider_id="acme", model="big", max_output_tokens=7)
    assert (await caller.reservations.Reserve(bounded)).reservation.output_tokens == 7


async def test_an_unknown_price_is_refused_and_never_reserved_as_nothing(caller: Caller) -> None:
    """UNKNOWN_PRICE, and an amount is needed when no model is named."""
    code, info, _ = await refusal(caller.reservations.Reserve(own.ReserveRequest(provider_id="acme", model="other")))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNKNOWN_PRICE")
    code, info, _ = await refusal(caller.reservations.Reserve(own.ReserveRequest(user_id="ada")))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, "amount")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (own.ReserveRequest(amount=usd("1"), user_id="ada", labels={"user": "bob"}), "labels.user"),
        (own.ReserveRequest(amount=usd("1"), labels={"day": "x"}), "labels.day"),
        (own.ReserveRequest(amount=usd("1"), labels={f"l{number}": "x" for number in range(9)}), "labels.l8"),
        (own.ReserveRequest(amount=usd("1"), labels={"team": "x" * 129}), "labels.team"),
    ],
)
async def test_labels_that_cannot_be_are_named(caller: Caller, request_: own.ReserveRequest, field: str) -> None:
    """Contradictions, reserved names, too many, too long."""
    code, info, _ = await refusal(caller.reservations.Reserve(request_))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        (Budget(limit=usd("1"), window=BudgetWindow(kind=BudgetWindow.KIND_ROLLING)), "budget.window.length"),
        (Budget(limit=usd("1"), window=BudgetWindow(length=Duration(seconds=60))), "budget.window.length"),
        (
            Budget(limit=usd("1"), window=BudgetWindow(kind=BudgetWindow.KIND_LIFETIME, period=BudgetWindow.PERIOD_DAY)),
            "budget.window.period",
        ),
        (Budget(limit=usd("1"), scope=BudgetScope(user_id="ada"), each="user"), "budget.each"),
        (Budget(limit=usd("1"), scope=BudgetScope(user_id="ada", labels={"user": "bob"})), "budget.scope.labels.user"),
    ],
)
async def test_budgets_that_cannot_be_are_named(caller: Caller, budget: Budget, field: str) -> None:
    """Fields of a window that do not belong together, shares of one, contradictions."""
    code, info, _ = await refusal(caller.provider.SetBudget(api.SetBudgetRequest(budget=budget)))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)
