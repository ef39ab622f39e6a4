"""Burst policies as their callers meet them: applied with the budgets or not at all, queues in order, corrected at settlement."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import burst_service_pb2 as bursts
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.budget_pb2 import BudgetScope
from tooloo.provider.v1.burst_service_pb2 import BurstPolicy

from tests.integration.provider_bench import refusal, settings, usd
from tests.integration.reservations_bench import Caller, caller, details

__all__ = ["caller", "settings"]
MINUTE = Duration(seconds=60)


async def put(caller: Caller, policy_id: str = "p", **fields: Any) -> BurstPolicy:  # a fixture that is imported
    """Sets a policy: calls a minute, unless it says otherwise."""
    fields = {"measure": BurstPolicy.MEASURE_REQUESTS, "period": MINUTE, **fields}
    request = bursts.SetBurstPolicyRequest(policy=BurstPolicy(policy_id=policy_id, **fields))
    return (await caller.bursts.SetBurstPolicy(request)).policy


async def check(caller: Caller, tokens: int = 0, **labels: str) -> bursts.CheckBurstResponse:  # as above
    """Asks without taking."""
    return await caller.bursts.CheckBurst(bursts.CheckBurstRequest(labels=labels, tokens=tokens))


async def test_a_burst_passes_then_calls_come_at_the_rate(caller: Caller) -> None:  # as above
    """Ten at once, the eleventh is told to the microsecond when it would pass, and passes then."""
    await put(caller, rate=60, burst=10)
    for _ in range(10):
        await caller.reserve("0.1")
    code, info, error = await refusal(caller.reserve("0.1"))
    assert (code, info.reason, info.metadata["policies"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BURST_EXCEEDED", "p")
    assert details(error) == (["burst/p"], timedelta(seconds=1))
    caller.clock.advance(timedelta(seconds=1) - timedelta(microseconds=1))
    await refusal(caller.reserve("0.1"))
    caller.clock.advance(timedelta(microseconds=1))
    await caller.reserve("0.1")
    await caller.bench.restart()
    assert (await check(caller)).policies[0].credit == 0
    caller.clock.advance(timedelta(seconds=5))
    assert (await check(caller)).policies[0].credit == 5


async def test_a_bucket_of_a_clock_that_was_ahead_is_full(caller: Caller) -> None:  # as above
    """It does not stay empty until the clock has caught up; set back by less than a whole bucket it owes what it owed."""
    await put(caller, rate=60, burst=10)
    for back, passes in ((timedelta(seconds=9), False), (timedelta(days=1), True)):
        while (await check(caller)).allowed:
            await caller.reserve("0.1")
        caller.clock.advance(-back)
        assert (await check(caller)).allowed is passes
    assert (await check(caller)).policies[0].credit == 10
    await caller.reserve("0.1")
    assert (await check(caller)).policies[0].credit == 9


async def test_budgets_and_bursts_are_taken_together_or_not_at_all(caller: Caller) -> None:  # as above
    """What a budget denies uses up no turn; what a policy denies holds no money; both are named."""
    await put(caller, rate=1)
    await caller.limit("1")
    await refusal(caller.reserve("2"))
    assert (await check(caller)).policies[0].credit == 1
    await caller.reserve("0.4")
    _, info, _ = await refusal(caller.reserve("0.4"))
    assert (info.reason, (await caller.standing()).reserved) == ("BURST_EXCEEDED", usd("0.4"))
    _, info, error = await refusal(caller.reserve("0.7"))
    assert (info.reason, info.metadata["budgets"], info.metadata["policies"]) == ("BUDGET_SPENT", "b", "p")
    assert details(error)[0] == ["budget/b", "burst/p"]


async def test_all_policies_or_none(caller: Caller) -> None:  # as above
    """A call that one of two policies denies takes nothing of the other."""
    await put(caller, "wide", rate=100)
    await put(caller, "narrow", rate=1, scope=BudgetScope(user_id="ada"))
    await caller.reserve("0.1", user_id="ada")
    for _ in range(5):
        await refusal(caller.reserve("0.1", user_id="ada"))
    credit = {item.policy_id: item.credit for item in (await check(caller, user="ada")).policies}
    assert credit == {"wide": 99, "narrow": 0}


async def test_a_queue_gives_turns_in_order(caller: Caller) -> None:  # as above
    """Calls that come together get turns a second apart, as long as policy and caller bear it; their expiry waits too."""
    await put(caller, rate=60, burst=1, mode=BurstPolicy.MODE_QUEUE, max_wait=Duration(seconds=3))
    request = own.ReserveRequest(amount=usd("0.1"), ttl=Duration(seconds=60))
    made = await asyncio.gather(*(caller.reservations.Reserve(request) for _ in range(6)), return_exceptions=True)
    waits = sorted(answer.wait.ToTimedelta() for answer in made if isinstance(answer, own.ReserveResponse))
    assert waits == [timedelta(seconds=second) for second in range(4)]
    lives = {
        answer.reservation.expire_time.ToDatetime() - answer.reservation.create_time.ToDatetime() - answer.wait.ToTimedelta()
        for answer in made
        if isinstance(answer, own.ReserveResponse)
    }
    assert lives == {timedelta(seconds=60)}
    caller.clock.advance(timedelta(seconds=1))
    impatient = own.ReserveRequest(amount=usd("0.1"), max_wait=Duration(seconds=2))
    _, _, error = await refusal(caller.reservations.Reserve(impatient))
    assert details(error)[1] == timedelta(seconds=3)
    assert (await check(caller)).allowed


async def test_tokens_and_money_are_corrected_by_what_was_used(caller: Caller) -> None:  # as above
    """Charged with the estimate; unused credit comes back at settlement and release, more use takes more."""
    await put(caller, "tokens", measure=BurstPolicy.MEASURE_TOKENS, rate=1000)
    await put(caller, "money", measure=BurstPolicy.MEASURE_MONEY, rate=10**9)
    wanted = {"provider_id": "acme", "model": "big", "input_tokens": 100, "output_tokens": 300}

    async def credits() -> tuple[int, int]:
        answer = await check(caller, provider="acme", model="big")
        found = {item.policy_id: item.credit for item in answer.policies}
        return found["tokens"], round(found["money"] / 10**9, 2)  # type: ignore[return-value] # dollars

    held = await caller.reserve("0.4", **wanted)
    assert await credits() == (600, 0.6)
    await caller.settle(held.reservation_id, "0.1", input_tokens=100, output_tokens=50)
    assert await credits() == (850, 0.9)
    held = await caller.reserve("0.4", **wanted)
    await caller.reservations.Release(own.ReleaseRequest(reservation_id=held.reservation_id))
    assert await credits() == (850, 0.9)
    held = await caller.reserve("0.4", **wanted)
    await caller.settle(held.reservation_id, "0.7", input_tokens=100, output_tokens=700)
    assert await credits() == (50, 0.2)


async def test_a_call_larger_than_the_burst_never_passes(caller: Caller) -> None:  # as above
    """It is refused without RetryInfo, and the text says what to do."""
    await put(caller, measure=BurstPolicy.MEASURE_TOKENS, rate=100)
    _, _, error = await refusal(caller.reserve("0.1", input_tokens=101))
    assert details(error) == (["burst/p"], None)
    assert "raise its burst" in (error.details() or "")
    answer = await check(caller, tokens=101)
    assert (answer.allowed, answer.policies[0].HasField("wait")) == (False, False)


async def test_each_value_has_its_own_credit(caller: Caller) -> None:  # as above
    """`by` user: one user's burst leaves another's alone."""
    await put(caller, rate=2, by=["user"])
    for user in ("ada", "bob", ""):
        for _ in range(2):
            await caller.reserve("0.1", user_id=user)
        await refusal(caller.reserve("0.1", user_id=user))


async def test_a_top_up_takes_credit_too(caller: Caller) -> None:  # as above
    """And is refused, not queued, when there is none: a stream that runs cannot wait."""
    await put(caller, measure=BurstPolicy.MEASURE_TOKENS, rate=100, mode=BurstPolicy.MODE_QUEUE)
    held = await caller.reserve("0.1", provider_id="acme", model="big", input_tokens=10, output_tokens=40)
    more = own.ExtendRequest(reservation_id=held.reservation_id, output_tokens=50)
    await caller.reservations.Extend(more)
    _, info, _ = await refusal(caller.reservations.Extend(more))
    assert info.reason == "BURST_EXCEEDED"
    await caller.settle(held.reservation_id, "0.1", input_tokens=10, output_tokens=20)
    assert (await check(caller, provider="acme", model="big")).policies[0].credit == 70


async def test_policies_are_made_read_listed_and_deleted(caller: Caller) -> None:  # as above
    """Their life; a new one applies at once; one deleted and made again begins full."""
    made = await put(caller, "", rate=5)
    assert (made.burst, made.mode, made.max_wait) == (5, BurstPolicy.MODE_REFUSE, Duration(seconds=30))
    await put(caller, "a", rate=1)
    first = await caller.bursts.ListBurstPolicies(bursts.ListBurstPoliciesRequest(page_size=1))
    second = await caller.bursts.ListBurstPolicies(bursts.ListBurstPoliciesRequest(page_size=1, page_token=first.next_page_token))
    assert {item.policy_id for page in (first, second) for item in page.policies} == {made.policy_id, "a"}
    await caller.reserve("0.1")
    await refusal(caller.reserve("0.1"))
    await caller.bursts.DeleteBurstPolicy(bursts.DeleteBurstPolicyRequest(policy_id="a"))
    await caller.reserve("0.1")
    await put(caller, "a", rate=1)
    await caller.reserve("0.1")
    assert (await caller.bursts.GetBurstPolicy(bursts.GetBurstPolicyRequest(policy_id="a"))).policy.rate == 1
    for call in (
        caller.bursts.GetBurstPolicy(bursts.GetBurstPolicyRequest(policy_id="none")),
        caller.bursts.DeleteBurstPolicy(bursts.DeleteBurstPolicyRequest(policy_id="none")),
    ):
        code, _, _ = await refusal(call)
        assert code == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (BurstPolicy(rate=1, period=MINUTE), "policy.measure"),
        (BurstPolicy(measure=BurstPolicy.MEASURE_REQUESTS, period=MINUTE), "policy.rate"),
        (BurstPolicy(measure=BurstPolicy.MEASURE_REQUESTS, rate=1), "policy.period"),
        (BurstPolicy(measure=BurstPolicy.MEASURE_REQUESTS, rate=1, period=MINUTE, by=["day"]), "policy.by[0]"),
        (BurstPolicy(measure=BurstPolicy.MEASURE_REQUESTS, rate=1, period=MINUTE, max_wait=MINUTE), "policy.max_wait"),
        (BurstPolicy(measure=BurstPolicy.MEASURE_REQUESTS, rate=1, period=MINUTE, burst=10**15), "policy.burst"),
    ],
)
async def test_policies_that_cannot_be_are_named(
    caller: Caller,  # as above
    policy: BurstPolicy,
    field: str,
) -> None:
    """No measure, no rate, no period, a word of time as a label, too much patience, a bucket that takes centuries to fill."""
    code, info, _ = await refusal(caller.bursts.SetBurstPolicy(bursts.SetBurstPolicyRequest(policy=policy)))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_policy_that_is_set_anew_owes_the_same_calls_at_the_new_rate(caller: Caller) -> None:  # as above
    """One that was far too strict blocks nobody for longer than its new rate says; one that is set again forgives nothing."""
    await put(caller, rate=1, period=Duration(seconds=86_400), burst=4)
    for _ in range(4):
        await caller.reserve("0.1")
    await refusal(caller.reserve("0.1"))
    await put(caller, rate=60, burst=10)
    assert (await check(caller)).policies[0].credit == 6
    for _ in range(6):
        await caller.reserve("0.1")
    _, _, error = await refusal(caller.reserve("0.1"))
    assert details(error) == (["burst/p"], timedelta(seconds=1))
    for _ in range(3):
        await put(caller, rate=60, burst=10)
        await put(caller, rate=6, burst=10)
    _, _, error = await refusal(caller.reserve("0.1"))
    assert details(error) == (["burst/p"], timedelta(seconds=10))
    # never more than a whole bucket
    await put(caller, rate=60, burst=5)
    caller.clock.advance(timedelta(seconds=1))
    assert (await check(caller)).policies[0].credit == 1


async def test_a_policy_that_counts_something_else_begins_anew(caller: Caller) -> None:  # as above
    """Tokens that are owed are no calls, and a bucket for all is not everybody's own."""
    for change in ({"measure": BurstPolicy.MEASURE_TOKENS}, {"by": ["user"]}, {"scope": BudgetScope(provider_id="acme")}):
        await put(caller, rate=1, period=Duration(seconds=86_400), burst=1)
        await caller.reserve("0.1", labels={"user": "ada"})
        await put(caller, rate=1, period=Duration(seconds=86_400), burst=1, **change)
        labels = {"user": "ada", "provider": "acme", "model": "big"}
        answer = await caller.bursts.CheckBurst(bursts.CheckBurstRequest(labels=labels))
        assert [policy.credit for policy in answer.policies] == [1], change
