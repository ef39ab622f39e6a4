"""Money that is set aside while a conversation is answered: top-ups of long streams, denials, cheaper models and fallbacks."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.health_pb2 import FailureKind

from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    DONE,
    MID,
    SMALL,
    TEN,
    WORDS,
    Desk,
    Event,
    attempts_of,
    begins,
    chunk,
    desk_on,
    fails,
    learned,
    nanos,
    refused,
    says,
    usage_alone,
    waits,
    words_of,
)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path, top_up_tokens="20") as running:
        yield running


async def _limit(desk: Desk, amount: str) -> None:
    """A budget of those who come after."""
    await desk.limit(amount, scope={"labels": {"team": "after"}})


async def test_a_long_answer_sets_more_aside_as_it_comes(desk: Desk) -> None:
    """What is reserved grows with the stream, so that others cannot spend what it will cost; in few transactions."""
    await learned(desk)
    await _limit(desk, "1")
    go = asyncio.Event()
    desk.far.script["big"] = [begins(*map(chunk, [TEN] * 100), then=go, last=[chunk(finish="stop"), usage_alone((6, 1000)), DONE])]
    events: list[Event] = []
    reserved: set[int] = set()
    async for each in desk.streaming(labels={"team": "after"}):
        events.append(each)
        reserved.add(nanos((await desk.standing()).reserved))
        if len(events) == 101:
            assert max(reserved) >= 1000 * 10_000
            go.set()
    begun = (await desk.told("provider.query.started"))[-1]
    assert nanos(begun.reserved) < 100 * 10_000, "it began with what was learned"
    assert len(reserved) < 12, "a transaction for each piece"
    assert nanos(events[-1].completed.account.cost) == 6 * 1000 + 1000 * 10_000
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (nanos(events[-1].completed.account.cost), 0)


async def test_a_stream_as_long_as_usual_sets_nothing_more_aside(tmp_path: Path) -> None:
    """Its tokens are counted as the provider counted those of the answers before: the same text is not taken for a longer one."""
    words = ["An answer of ", "about a dozen ", "words, as chats ", "often give them."]
    go = asyncio.Event()
    async with desk_on(tmp_path, top_up_tokens="20", estimate_prior_calls="0.001") as desk:
        desk.far.script["big"] = [says(words, usage=(6, 14))] * 10
        for _ in range(10):
            await desk.ask(labels={"team": "before"})
        await _limit(desk, "1")
        desk.far.script["big"] = [begins(*map(chunk, words), then=go, last=[chunk(finish="stop"), usage_alone((6, 14)), DONE])]
        reserved: list[int] = []
        async for each in desk.streaming(labels={"team": "after"}):
            if each.WhichOneof("event") != "completed":
                reserved.append(nanos((await desk.standing()).reserved))
            if len(reserved) == 1 + len(words):
                go.set()
        assert len(reserved) > len(words)
        begun = (await desk.told("provider.query.started"))[-1]
        assert set(reserved) == {nanos(begun.reserved)}
        assert nanos(begun.reserved) < len("".join(words)) / 3.5 * 10_000, "a guess of its tokens would set more aside"


async def test_a_budget_that_takes_no_more_ends_the_stream(desk: Desk) -> None:
    """With a terminal message that names the budget; what came is charged, and the provider's key does not rest for it."""
    await learned(desk)
    await _limit(desk, "0.003")
    desk.far.script["big"] = [begins(*map(chunk, [TEN] * 100))]
    events = await desk.stream(labels={"team": "after"})
    failed = events[-1].failed
    assert events[-1].WhichOneof("event") == "failed"
    assert failed.failure == FailureKind.FAILURE_KIND_QUOTA_EXHAUSTED
    assert "b" in failed.detail
    came = words_of(events)
    assert 0 < len(came) < 100 * len(TEN)
    assert failed.account.usage.output_tokens >= len(came) // 4
    spent = nanos((await desk.standing()).spent)
    assert spent == nanos(failed.account.cost) > 0
    # the piece that was one too many is the true overrun, no more
    assert spent <= 3_000_000 + 10 * 10_000
    assert await desk.at_rest()
    await _limit(desk, "1")
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "")]


async def test_a_spent_budget_refuses_before_anything_is_called(desk: Desk) -> None:
    """RESOURCE_EXHAUSTED names the budget and says when its window ends; nothing is kept of the query."""
    await desk.limit("0.00001", "tight")
    for call in (desk.ask, desk.stream):
        for model in (BIG, "auto"):
            found = await refused(call(model))
            assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_SPENT")
            assert found.metadata["budgets"] == "tight"
    assert not desk.far.asked
    assert await desk.count("running") == 0
    assert await desk.at_rest()


async def test_a_budget_of_another_does_not(desk: Desk) -> None:
    """Bob's budget is spent; Ada is answered."""
    await desk.limit("0.00001", "bob", scope={"user_id": "bob"})
    assert (await refused(desk.ask(user_id="bob"))).reason == "BUDGET_SPENT"
    assert (await desk.ask(user_id="ada")).message.text == "".join(WORDS)


async def test_degrade_takes_a_cheaper_model(desk: Desk) -> None:
    """A budget in mode DEGRADE that the best does not fit into: the best that fits answers."""
    await desk.limit("0.004", mode=Budget.MODE_DEGRADE)
    assert (await desk.ask("auto")).account.model == "mid"
    await desk.limit("0.001", mode=Budget.MODE_DEGRADE)
    assert (await desk.ask("auto")).account.model == "small"
    assert (await refused(desk.ask(BIG))).reason == "BUDGET_DEGRADES"


async def test_the_longest_answer_that_may_come_does_not_strangle(desk: Desk) -> None:
    """`max_output_tokens` of 6000 would cost 0.06; with what is learned twelve calls fit into 0.05, and all are let through."""
    await learned(desk)
    await _limit(desk, "0.05")
    answers = await asyncio.gather(*(desk.ask(most=6000, labels={"team": "after"}) for _ in range(12)))
    assert {each.account.model for each in answers} == {"big"}


async def test_the_worst_case_is_set_aside_where_the_settings_say_so(tmp_path: Path) -> None:
    """What a call may cost at most is held while it runs, however short answers were; more than the budget has is refused."""
    async with desk_on(tmp_path, reserve_worst_case="true") as strict:
        await learned(strict)
        await strict.limit("0.05")
        assert (await refused(strict.ask(most=6000))).reason == "BUDGET_SPENT"
        strict.far.script["big"] = [waits]
        strict.far.arrived.clear()
        running = asyncio.create_task(strict.ask(most=4000))
        await strict.far.arrived.wait()
        assert nanos((await strict.standing()).reserved) >= 4000 * 10_000
        running.cancel()
        await strict.settled()


async def test_a_fallback_that_does_not_fit_is_passed_over(desk: Desk) -> None:
    """The budget of one model denies the fallback to it: the next of its provider is asked, with the money set aside for it."""
    await desk.limit("0.00001", "mid", scope={"provider_id": "brim", "model": "mid"})
    await desk.limit("1", "all")
    desk.far.script["small"] = [fails(404)]
    await desk.chain("default", general=[MID, BIG])
    account = (await desk.ask(SMALL)).account
    assert attempts_of(account) == [(SMALL, "NOT_FOUND"), (MID, "QUOTA_EXHAUSTED"), (BIG, "")]
    assert "mid" in account.attempts[1].detail
    assert desk.far.models == ["small", "big"]
    assert (nanos((await desk.standing("all")).spent), nanos((await desk.standing("all")).reserved)) == (COST_OF_BIG, 0)
    assert await desk.at_rest()


async def test_no_fallback_fits(desk: Desk) -> None:
    """What is told is how the model failed, and the attempts say what stood against the others; nothing is left reserved."""
    await desk.limit("0.00001", "mid", scope={"provider_id": "brim", "model": "mid"})
    desk.far.script["small"] = [fails(404)]
    await desk.chain("default", general=[MID])
    found = await refused(desk.ask(SMALL))
    assert (found.code, found.metadata["failure"]) == (grpc.StatusCode.UNAVAILABLE, "NOT_FOUND")
    account = (await desk.query(found.metadata["query_id"])).account
    assert attempts_of(account) == [(SMALL, "NOT_FOUND"), (MID, "QUOTA_EXHAUSTED")]
    assert await desk.at_rest()


async def test_a_stream_goes_on_while_the_store_is_away(tmp_path: Path) -> None:
    """It cannot set more aside for that long; what came is settled when the store is there again, and nothing of it is lost."""
    async with desk_on(tmp_path, {"TOOLOO_BUSY_TIMEOUT": "50ms"}, top_up_tokens="20") as desk:
        await learned(desk)
        await _limit(desk, "1")
        go, came = asyncio.Event(), 0
        last = [*map(chunk, [TEN] * 20), chunk(finish="stop"), usage_alone((6, 201)), DONE]
        desk.far.script["big"] = [begins(chunk("a "), then=go, last=last)]
        lock = sqlite3.connect(next((tmp_path / "data").rglob("provider.db")), isolation_level=None, timeout=30)
        async for each in desk.streaming(labels={"team": "after"}):
            came += bool(each.text)
            if came == 1 and not go.is_set():
                lock.execute("BEGIN IMMEDIATE")
                go.set()
            if came == 21 and lock.in_transaction:
                lock.execute("ROLLBACK")
        lock.close()
        assert nanos(each.completed.account.cost) == 6 * 1000 + 201 * 10_000, each
        standing = await desk.standing()
        assert (nanos(standing.spent), nanos(standing.reserved)) == (nanos(each.completed.account.cost), 0)
