"""Streams that break before and after their first token, and deadlines: what the caller is told, and what is charged."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.health_pb2 import FailureKind

from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    DONE,
    MID,
    Desk,
    Reply,
    attempts_of,
    begins,
    chunk,
    desk_on,
    nanos,
    refused,
    sends,
    waits,
    words_of,
)

State = api.GetQueryResponse


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path) as running:
        yield running


@pytest.mark.parametrize("broken", [sends(ends=False), sends(chunk(role="assistant"), ends=False), sends(chunk())])
async def test_a_stream_that_breaks_before_its_first_token(desk: Desk, broken: Reply) -> None:
    """Nobody has seen anything of it, so another model begins."""
    desk.far.script["big"] = [broken] * 3
    events = await desk.stream("auto")
    assert [each.WhichOneof("event") for each in events] == ["started", "text", "text", "text", "completed"]
    assert events[0].started.model == "mid"
    assert attempts_of(events[-1].completed.account) == [(BIG, "BROKEN_STREAM"), (MID, "")]
    assert nanos(events[-1].completed.account.cost) == COST_OF_BIG // 2
    assert await desk.at_rest()


async def test_a_stream_that_breaks_after_its_first_token(desk: Desk) -> None:
    """It ends with a terminal message that says so; what came is charged, and no other model goes on with it."""
    await desk.limit("1")
    desk.far.script["big"] = [sends(*map(chunk, ["word " * 7] * 10), ends=False)]
    events = await desk.stream("auto", text="x" * 346)
    assert [each.WhichOneof("event") for each in events] == ["started", *["text"] * 10, "failed"]
    failed = events[-1].failed
    assert failed.failure == FailureKind.FAILURE_KIND_BROKEN_STREAM
    assert failed.detail
    account = failed.account
    # 350 characters of answer and 346 of question at 3.5 a token, 4 tokens for a message
    assert (account.usage.input_tokens, account.usage.output_tokens, account.usage_estimated) == (103, 100, True)
    assert nanos(account.cost) == 103_000 + 1_000_000
    assert nanos((await desk.standing()).spent) == nanos(account.cost)
    assert (await desk.query(account.query_id)).state == State.STATE_FAILED
    assert desk.far.models == ["big"]
    assert await desk.at_rest()
    [told] = await desk.told("provider.query.failed")
    assert nanos(told.cost) == nanos(account.cost)


async def test_an_error_within_a_stream(desk: Desk) -> None:
    """Some providers tell errors as an event; after the first token it is the end, with their words."""
    error = b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'
    desk.far.script["big"] = [sends(chunk("one"), error)]
    failed = (await desk.stream("auto"))[-1].failed
    assert failed.failure == FailureKind.FAILURE_KIND_SERVER_ERROR
    assert "overloaded" in failed.detail


@pytest.mark.parametrize("by", ["field", "call"])
async def test_the_deadline_holds(desk: Desk, by: str) -> None:
    """A far end that never answers costs no more time than the caller gave, and leaves nothing behind."""
    desk.far.script["big"] = [waits] * 3
    if by == "field":
        found = await refused(desk.ask(BIG, seconds=0.3))
        assert found.code is grpc.StatusCode.UNAVAILABLE
        assert found.metadata["failure"] == "TIMEOUT"
    else:
        request = api.CompleteRequest(model=BIG)
        request.messages.add(text="hello")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await desk.stub.Complete(request, timeout=0.3)
        assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    # and does not wait for its own longest time, which is ten minutes
    await desk.settled()
    assert await desk.count("usage") == 0


async def test_the_deadline_within_a_stream(desk: Desk, leap: Callable[[float], None]) -> None:
    """What came until then was paid for; the caller is told that it is over."""
    desk.far.script["big"] = [begins(chunk("one two three"))]
    events = []
    async for each in desk.streaming(BIG, seconds=60):
        events.append(each)
        if each.WhichOneof("event") == "text":
            leap(60)
    assert words_of(events) == "one two three"
    assert events[-1].failed.failure == FailureKind.FAILURE_KIND_TIMEOUT
    assert nanos(events[-1].failed.account.cost) > 0
    assert await desk.at_rest()


async def test_time_for_one_is_no_time_for_all(desk: Desk) -> None:
    """The second model gets what the first one left of the time."""
    desk.far.script["big"], desk.far.script["mid"] = [waits] * 2, [waits] * 2
    await desk.chain("default", general=[MID])
    found = await refused(desk.ask(BIG, seconds=0.4))
    assert found.metadata["failure"] == "TIMEOUT"
    await desk.settled()


async def test_a_stream_that_says_nothing(desk: Desk) -> None:
    """An answer without a word is an answer: started, then completed."""
    desk.far.script["big"] = [sends(chunk(finish="stop", usage=(11, 0)), DONE)]
    events = await desk.stream(BIG)
    assert [each.WhichOneof("event") for each in events] == ["started", "completed"]
    assert events[-1].completed.account.usage.input_tokens == 11
