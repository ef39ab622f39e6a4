"""Availability as callers meet it: breakers, cooldowns, trials, keys that rest, on a real SQLite file."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tooloo.provider.v1 import availability_service_pb2 as api
from tooloo.provider.v1 import health_pb2, provider_pb2

from services.provider.failure import FailureKind
from services.provider.fallback import Candidate
from tests.integration.availability_bench import (
    AVAILABLE,
    BIG,
    DEGRADED,
    GIFT,
    MID,
    NORMAL,
    OUT,
    SECOND,
    SMALL,
    START,
    TRIAL,
    UNAVAILABLE,
    House,
    failed,
    house,
    succeeded,
)

__all__ = ["house"]


async def test_a_breaker_opens_is_tried_once_and_closes_and_each_change_is_told_once(house: House) -> None:
    """Five failures: out of selection; after its time one trial and no second one; its success brings the model back."""
    for _ in range(5):
        await house.note(failed())
    assert await house.select() == ("gift", ["big"])
    await house.sweep(29.9)
    assert (await house.status()).state == DEGRADED
    assert (await house.status()).state_reason == "its last 5 calls failed"
    await house.sweep(0.2)
    assert (await house.select())[0] == "big"
    assert await house.select() == ("gift", ["big"])
    await house.note(succeeded())
    assert (await house.select())[0] == "big"
    await house.sweep()
    model = "providers/acme/models/big"
    assert [state for subject, state in await house.health() if subject == model] == [UNAVAILABLE, DEGRADED, AVAILABLE]
    breaker = health_pb2.UNAVAILABLE_CAUSE_BREAKER
    assert await house.priorities() == [(model, OUT, breaker), (model, TRIAL, 0), (model, NORMAL, 0)]


async def test_one_failure_of_few_opens_nothing(house: House) -> None:
    """Four in a row, a success, four more: neither five in a row nor half of ten."""
    for outcome in [*[failed()] * 4, succeeded()] * 2 + [succeeded()] * 8:
        await house.note(outcome)
    assert await house.select() == ("big", [])
    assert await house.priorities() == []


async def test_a_half_of_enough_calls_opens_it_and_counts_from_zero_after_it_closed(house: House) -> None:
    """Alternating failures: the tenth call opens it. When it has closed, what was before counts no more."""
    for number in range(10):
        assert await house.select() == ("big", [])
        await house.note(succeeded() if number % 2 == 0 else failed())
    assert await house.select() == ("gift", ["big"])
    await house.sweep(31)
    await house.note(succeeded())
    await house.note(failed())
    assert await house.select() == ("big", [])


async def test_windows_reach_over_buckets_and_forget(house: House) -> None:
    """A call a bucket: ten of them count, also after a restart; five failures in ten open a breaker; later nothing is left."""
    for number in range(14):
        house.clock.advance(30 * SECOND)
        await house.note(succeeded(SMALL))
        assert await house.select() == ("big", [])
        await house.note(failed() if number % 2 else succeeded())
        assert await house.select() == (("gift", ["big"]) if number == 9 else ("big", []))
    await house.bench.restart()
    listed = (await house.stub.ListAvailability(api.ListAvailabilityRequest(provider_id="acme"))).entries
    windows = {entry.model: entry.window for entry in listed if not entry.key_id and entry.model}
    assert (windows["small"].calls, windows["big"].calls, windows["big"].failures[0].count) == (10, 10, 5)
    house.clock.advance(timedelta(minutes=5))
    listed = (await house.stub.ListAvailability(api.ListAvailabilityRequest(provider_id="acme"))).entries
    assert [entry.window.calls for entry in listed] == [0] * len(listed)
    await house.note(succeeded(SMALL))
    kept = await house.bench.host.db.read(lambda tx: tx.fetch_all("SELECT * FROM health_bucket WHERE model = 'small'"))
    assert len(kept) <= 1


async def test_a_failed_trial_opens_it_again_for_longer(house: House) -> None:
    """30 s at most the first time, 30 to 60 s the second."""
    for _ in range(5):
        await house.note(failed())
    first = (await house.seen()).out(BIG)
    await house.sweep(30)
    await house.note(failed())
    second = (await house.seen()).out(BIG)
    assert first is not None
    assert second is not None
    assert first.until is not None
    assert second.until is not None
    assert 15 * SECOND <= first.until - START <= 30 * SECOND
    assert 30 * SECOND <= second.until - house.clock.now() <= 60 * SECOND


async def test_a_prober_that_crashes_does_not_block_for_ever(house: House) -> None:
    """The trial's lease ends, the next call is the trial; one that says nothing gives its lease back at once."""
    for _ in range(5):
        await house.note(failed())
    house.clock.advance(30 * SECOND)
    candidates = (Candidate(BIG, ("k1",)), Candidate(GIFT, ("k3",)))
    assert await house.enter("lost", *candidates) == [("big", ("k1",)), ("gift", ("k3",))]
    assert await house.enter("two", *candidates) == [("gift", ("k3",))]
    house.clock.advance(timedelta(minutes=2))
    assert (await house.enter("three", *candidates))[0] == ("big", ("k1",))
    await house.note(failed(kind=FailureKind.CANCELLED), call_id="three")
    assert (await house.enter("four", *candidates))[0] == ("big", ("k1",))


async def test_429_leads_to_the_next_key_and_the_rest_outlives_the_call(house: House) -> None:
    """litellm#32574, aisix#46: the limited key rests for that model as long as it was asked, for every call and replica."""
    candidates = (Candidate(BIG, ("k1", "k2")), Candidate(SMALL, ("k1",)))
    await house.note(failed(kind=FailureKind.RATE_LIMITED, retry_after=20 * SECOND), call_id="one")
    assert await house.enter("two", *candidates) == [("big", ("k2",)), ("small", ("k1",))]
    await house.note(failed(kind=FailureKind.RATE_LIMITED, key="k2"), call_id="two")
    assert await house.enter("three", *candidates) == [("small", ("k1",))]
    # without Retry-After it is the setting: 5 s
    await house.sweep(5)
    assert await house.enter("four", *candidates) == [("big", ("k2",)), ("small", ("k1",))]
    await house.sweep(15)
    assert (await house.enter("five", *candidates))[0] == ("big", ("k1", "k2"))
    model, cooldown = "providers/acme/models/big", health_pb2.UNAVAILABLE_CAUSE_COOLDOWN
    assert await house.priorities() == [(model, OUT, cooldown), (model, NORMAL, 0)]
    assert [told for told in await house.health() if told[0].startswith(model)] == [
        (f"{model}/keys/k1", UNAVAILABLE), (f"{model}/keys/k2", UNAVAILABLE),
        (f"{model}/keys/k2", AVAILABLE), (f"{model}/keys/k1", AVAILABLE),
    ]  # fmt: skip


async def test_a_retry_after_of_a_month_is_cut(house: House) -> None:
    """At most the setting: an hour."""
    await house.note(failed(kind=FailureKind.RATE_LIMITED, retry_after=timedelta(days=30)))
    out = (await house.seen()).key_out(BIG, "k1")
    assert out is not None
    assert out.until == START + timedelta(hours=1)


async def test_a_refused_key_is_out_with_every_model_until_it_is_changed(house: House) -> None:
    """401 and 402 take the key; whoever changes it resets it; when the last one is out, the provider is."""
    await house.note(failed(kind=FailureKind.UNAUTHENTICATED), failed(kind=FailureKind.QUOTA_EXHAUSTED, key="k2"))
    assert await house.enter("one", Candidate(BIG, ("k1", "k2")), Candidate(SMALL, ("k1",)), Candidate(GIFT, ("k3",))) == [
        ("gift", ("k3",))
    ]
    assert ("providers/acme", OUT, health_pb2.UNAVAILABLE_CAUSE_COOLDOWN) in await house.priorities()
    assert ("providers/acme", UNAVAILABLE) in await house.health()
    await house.stub.ResetAvailability(api.ResetAvailabilityRequest(provider_id="acme", key_id="k1"))
    assert (await house.enter("two", Candidate(BIG, ("k1", "k2"))))[0] == ("big", ("k1",))


async def test_an_unknown_model_rests_and_the_others_do_not(house: House) -> None:
    """404."""
    await house.note(failed(kind=FailureKind.NOT_FOUND))
    assert await house.select() == ("gift", ["big"])
    await house.sweep(601)
    assert (await house.select())[0] == "big"


@pytest.mark.parametrize(
    "kind", [FailureKind.BAD_REQUEST, FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY, FailureKind.CANCELLED]
)
async def test_what_is_the_requests_own_doing_changes_nothing(house: House, kind: FailureKind) -> None:
    """A hundred of them: nothing is out, nothing is told, uptime stays."""
    for _ in range(10):
        await house.note(*[failed(kind=kind)] * 10)
    assert await house.select() == ("big", [])
    assert (await house.health(), await house.priorities()) == ([], [])
    assert (await house.status()).models[0].uptime == 0.99


async def test_a_provider_of_which_every_model_fails_is_out_as_a_whole(house: House) -> None:
    """Unreachable with both models that were called: the provider's own breaker opens, also for the third; a success ends that."""
    for target in (BIG, SMALL):
        for _ in range(5):
            await house.note(failed(target, FailureKind.UNREACHABLE))
    status = await house.status()
    assert (status.state, await house.select()) == (UNAVAILABLE, ("gift", ["big", "mid", "small"]))
    assert "UNREACHABLE" in status.state_reason
    breaker = health_pb2.UNAVAILABLE_CAUSE_BREAKER
    assert ("providers/acme", OUT, breaker) in await house.priorities()
    await house.sweep(31)
    await house.note(succeeded())
    assert (await house.select())[0] == "big"
    whole = [(priority, cause) for place, priority, cause in await house.priorities() if place == "providers/acme"]
    assert whole == [(OUT, breaker), (TRIAL, 0), (NORMAL, 0)]
    assert (await house.status("brim")).state == provider_pb2.PROVIDER_STATE_NOT_CONFIGURED


async def test_a_provider_of_which_one_model_works_is_not_out(house: House) -> None:
    """Two of the three that were called lately fail: those two are out."""
    await house.note(succeeded(MID))
    for target in (BIG, SMALL):
        for _ in range(5):
            await house.note(failed(target, FailureKind.UNREACHABLE))
    assert await house.select() == ("gift", ["big", "small"])
    assert (await house.status()).state == DEGRADED


async def test_limits_in_a_row_rest_longer_until_a_success_and_late_successes_end_no_rest(house: House) -> None:
    """5 s, then 10 s; after a success 5 s again."""
    limited, call = failed(kind=FailureKind.RATE_LIMITED), Candidate(BIG, ("k1",))
    for rest in (5, 10):
        await house.note(limited)
        await house.note(succeeded())
        await house.sweep(rest - 0.1)
        assert await house.enter("early", call) == []
        await house.sweep(0.1)
        assert await house.enter("late", call) == [("big", ("k1",))]
    await house.note(succeeded())
    await house.note(limited)
    await house.sweep(5)
    assert await house.enter("again", call) == [("big", ("k1",))]


async def test_a_failure_that_comes_late_changes_nothing_while_it_is_open(house: House) -> None:
    """Calls that were on their way when it opened neither lengthen nor end it, however they end."""
    for _ in range(5):
        await house.note(failed())
    before = (await house.seen()).out(BIG)
    await house.note(failed(), succeeded(), failed())
    assert (await house.seen()).out(BIG) == before
