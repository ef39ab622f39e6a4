"""Bursts before conversations: refused beyond their credit, or answered when it is their turn."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import burst_service_pb2 as bursts
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceStub

from tests.integration.completing_bench import (
    TEN,
    Desk,
    desk_on,
    learned,
    refused,
    says,
)

Policy = bursts.BurstPolicy


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path, top_up_tokens="20") as running:
        yield running


async def _burst(desk: Desk, mode: Policy.Mode.ValueType, **fields: object) -> None:
    policy = Policy(policy_id="p", measure=Policy.MEASURE_REQUESTS, mode=mode, **fields)  # type: ignore[arg-type] # as they are
    await BurstServiceStub(desk.bench.channel).SetBurstPolicy(bursts.SetBurstPolicyRequest(policy=policy))


def _seconds(number: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=number))
    return duration


async def test_a_burst_beyond_its_credit_is_refused(desk: Desk) -> None:
    """Five at once are let through, the sixth is told when to come."""
    await _burst(desk, Policy.MODE_REFUSE, rate=1, period=_seconds(60), burst=5)
    found = await asyncio.gather(*(desk.ask() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(each, api.CompleteResponse) for each in found) == 5
    refusal = await refused(desk.ask())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BURST_EXCEEDED")
    assert refusal.metadata["policies"] == "p"
    assert refusal.retry_after is not None
    assert 50 < refusal.retry_after.total_seconds() <= 60
    assert len(desk.far.asked) == 5
    assert await desk.at_rest()


async def test_a_burst_of_tokens_cuts_no_stream(desk: Desk) -> None:
    """A long answer is not ended because others have to wait: what it takes counts against those who come next."""
    await learned(desk)
    policy = Policy(policy_id="p", measure=Policy.MEASURE_TOKENS, mode=Policy.MODE_REFUSE, rate=100, period=_seconds(60), burst=100)
    await BurstServiceStub(desk.bench.channel).SetBurstPolicy(bursts.SetBurstPolicyRequest(policy=policy))
    desk.far.script["big"] = [says([TEN] * 100, usage=(6, 1000))]
    assert (await desk.stream())[-1].completed.account.usage.output_tokens == 1000
    found = await refused(desk.ask())
    assert found.reason == "BURST_EXCEEDED"
    assert found.retry_after is not None
    assert found.retry_after.total_seconds() > 400, "all that was taken has to come back first"


async def test_a_burst_beyond_its_credit_waits_its_turn(desk: Desk) -> None:
    """In mode QUEUE everybody is answered, those beyond the credit later; who cannot wait so long is refused at once."""
    await _burst(desk, Policy.MODE_QUEUE, rate=20, period=_seconds(1), burst=2, max_wait=_seconds(10))
    answers = await asyncio.gather(*(desk.ask() for _ in range(8)))
    assert len(answers) == len(desk.far.asked) == 8
    await _burst(desk, Policy.MODE_QUEUE, rate=1, period=_seconds(25), burst=1, max_wait=_seconds(30))
    await desk.ask()
    assert (await refused(desk.ask(seconds=0.5))).reason == "BURST_EXCEEDED"
    assert len(desk.far.asked) == 9


async def test_hanging_up_in_the_queue(desk: Desk) -> None:
    """Who leaves while waiting for a turn is not called for, and keeps nothing back."""
    await _burst(desk, Policy.MODE_QUEUE, rate=1, period=_seconds(25), burst=1, max_wait=_seconds(30))
    await desk.ask()
    task = asyncio.create_task(desk.ask())
    async with asyncio.timeout(60):
        while await desk.count("open") == 0:  # noqa: ASYNC110 - the store has no event of its own
            await asyncio.sleep(0.01)
    task.cancel()
    await desk.settled()
    assert len(desk.far.asked) == 1
