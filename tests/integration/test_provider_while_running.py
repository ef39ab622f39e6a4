"""What operators change while a query runs: models, providers and budgets go, and it is answered and paid for all the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tooloo.provider.v1 import registry_service_pb2 as registry
from tooloo.provider.v1.availability_service_pb2 import ListAvailabilityRequest
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope
from tooloo.provider.v1.health_pb2 import Priority
from tooloo.provider.v1.provider_service_pb2 import DeleteBudgetRequest
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub

from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    MID,
    SMALL,
    WORDS,
    Desk,
    attempts_of,
    desk_on,
    fails,
    nanos,
    says,
    words_of,
)
from tests.integration.remote_bench import Far

Change = Callable[[Desk], Awaitable[object]]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path) as running:
        yield running


async def delete_model(desk: Desk) -> None:
    """Takes acme/big out."""
    await RegistryServiceStub(desk.bench.channel).DeleteModel(registry.DeleteModelRequest(provider_id="acme", model="big"))


async def delete_provider(desk: Desk) -> None:
    """Takes acme out with all of its models."""
    await RegistryServiceStub(desk.bench.channel).DeleteProvider(registry.DeleteProviderRequest(provider_id="acme"))


@pytest.mark.parametrize("change", [delete_model, delete_provider])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_goes_is_paid_for(desk: Desk, change: Change, streamed: bool) -> None:
    """Its price went with it: what it answered costs what it cost when it was asked, and nothing stays set aside."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def reply(far: Far) -> None:
        asked.set()
        await answer.wait()
        await says()(far)

    desk.far.script["big"].append(reply)
    call = asyncio.create_task(_answered(desk, streamed))
    async with asyncio.timeout(60):
        await asked.wait()
    await change(desk)
    # another query makes the service look at its registry anew
    await desk.ask(MID)
    answer.set()
    assert await call == ("".join(WORDS), COST_OF_BIG)
    assert await desk.at_rest()


@pytest.mark.parametrize("refused", [False, True])
async def test_a_key_that_goes_leaves_nothing(desk: Desk, refused: bool) -> None:
    """Deleted while a call went out with it: however that ends, what is available does not list it, and nothing rests for it."""
    calls = RegistryServiceStub(desk.bench.channel)
    gone = await desk.add_key("acme", "old" * 8)

    async def reply(far: Far) -> None:
        await calls.DeleteProviderKey(registry.DeleteProviderKeyRequest(key_id=gone))
        await (fails(401) if refused else says())(far)

    desk.far.script["big"].append(reply)
    answered = await desk.ask("auto")
    assert attempts_of(answered.account)[0] == (BIG, "UNAUTHENTICATED" if refused else "")
    listed = await AvailabilityServiceStub(desk.bench.channel).ListAvailability(ListAvailabilityRequest(provider_id="acme"))
    assert {(entry.key_id, entry.priority) for entry in listed.entries} == {("", Priority.PRIORITY_NORMAL)}


async def _answered(desk: Desk, streamed: bool) -> tuple[str, int]:
    """The words of acme/big, and what they cost."""
    if streamed:
        events = await desk.stream(seconds=20)
        return words_of(events), nanos(events[-1].completed.account.cost)
    answered = await desk.ask(seconds=20)
    return answered.message.text, nanos(answered.account.cost)


@pytest.mark.parametrize("change", ["delete", "switch off"])
async def test_a_fallback_that_goes_is_passed_over(desk: Desk, change: str) -> None:
    """The next of the chain answers; neither is the one that is gone asked, nor does its price end the query."""
    await desk.chain("c", general=[MID, SMALL])

    async def reply(far: Far) -> None:
        stub = RegistryServiceStub(desk.bench.channel)
        if change == "delete":
            await stub.DeleteModel(registry.DeleteModelRequest(provider_id="brim", model="mid"))
        else:
            await stub.SetModelEnabled(registry.SetModelEnabledRequest(provider_id="brim", model="mid", enabled=False))
        await desk.ask(SMALL)
        await fails(500)(far)

    desk.far.script["big"] += [reply, fails(500)]
    answered = await desk.ask(fallback_chain="c")
    tried = [(BIG, "SERVER_ERROR"), (BIG, "SERVER_ERROR"), (MID, "UNREACHABLE"), (SMALL, "")]
    assert attempts_of(answered.account) == tried
    assert "mid" not in desk.far.models
    assert await desk.at_rest()


async def test_a_model_that_goes_before_its_retry(desk: Desk) -> None:
    """It failed and cannot be tried again: the next one answers."""

    async def reply(far: Far) -> None:
        await delete_model(desk)
        await desk.ask(MID)
        await fails(500)(far)

    desk.far.script["big"].append(reply)
    answered = await desk.ask("auto")
    assert attempts_of(answered.account) == [(BIG, "SERVER_ERROR"), (BIG, "UNREACHABLE"), (MID, "")]
    assert await desk.at_rest()


async def test_a_budget_that_goes_and_comes_back(desk: Desk) -> None:
    """Deleted while a query holds some of it, and set anew before it ends: it has what the query cost, and nothing set aside."""

    async def reply(far: Far) -> None:
        await desk.provider.DeleteBudget(DeleteBudgetRequest(budget_id="b"))
        await desk.limit("1")
        assert nanos((await desk.standing()).reserved) > 0
        await says()(far)

    await desk.limit("1")
    desk.far.script["big"].append(reply)
    await desk.ask()
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)


async def test_a_budget_for_somebody_else_tells_its_thresholds(desk: Desk) -> None:
    """What was told of one team's spending is not told of the other's, whose budget the same id is now."""
    for team in ("red", "blue"):
        await desk.limit("0.0001", mode=Budget.MODE_NOTIFY, scope=BudgetScope(labels={"team": team}))
        for _ in range(2):
            await desk.ask(labels={"team": team})
    told = [(each.scope.labels["team"], each.threshold) for each in await desk.told("budget.threshold_exceeded")]
    assert told == [(team, threshold) for team in ("red", "blue") for threshold in (50, 80, 100)]
