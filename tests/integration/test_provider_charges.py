"""Money of answered conversations: streams, hang-ups, caches and prices; peers' failures by their names."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.health_pb2 import FailureKind

from envoy.settings import DoorSettings
from envoy.testing import door_on_free_ports, running_door
from mesh import catalogue, contracts
from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    DONE,
    MID,
    OPUS,
    SMALL,
    TEN,
    USED,
    Desk,
    Reply,
    attempts_of,
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

State = api.GetQueryResponse


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path, top_up_tokens="20") as running:
        yield running


@pytest.mark.parametrize(
    "told",
    [
        [chunk("x" * 35), chunk(finish="stop"), usage_alone(USED), DONE],
        [chunk("x" * 35), chunk(finish="stop", usage=USED), DONE],
        [chunk("x" * 35, usage=(11, 1)), chunk(finish="stop", usage=USED), DONE],
        [chunk("x" * 35, usage=(11, 3)), chunk(finish="stop"), usage_alone((11, 7)), DONE],
    ],
    ids=["no choices", "with choices", "cumulative", "cumulative and last without choices"],
)
async def test_streamed_spend_litellm_36168(desk: Desk, told: Sequence[bytes]) -> None:
    """The usage of a stream counts wherever the provider tells it, and once."""
    desk.far.script["big"] = [sends(*told)]
    account = (await desk.stream())[-1].completed.account
    assert (account.usage.input_tokens, account.usage.output_tokens, account.usage_estimated) == (*USED, False)
    assert nanos(account.cost) == COST_OF_BIG


@pytest.mark.parametrize("usage", [None, (0, 0), (11, 0)])
@pytest.mark.parametrize("streamed", [False, True])
async def test_spend_is_never_0_litellm_37923(desk: Desk, streamed: bool, usage: tuple[int, int] | None) -> None:
    """A provider that tells no usage, or zeros: it is counted from the text, and marked as an estimate."""
    desk.far.script["big"] = [says([TEN] * 3, usage=usage)]
    account = (await desk.stream())[-1].completed.account if streamed else (await desk.ask()).account
    assert account.usage_estimated
    assert account.usage.output_tokens == 30
    # "hello" and what a message takes beside its words
    assert account.usage.input_tokens == (usage[0] if usage and usage[0] else 6)
    assert nanos(account.cost) == account.usage.input_tokens * 1000 + 30 * 10_000
    assert nanos((await desk.report()).total.cost) == nanos(account.cost)


@pytest.mark.parametrize("streamed", [False, True])
async def test_cached_tokens_are_charged_once_litellm_14849(desk: Desk, streamed: bool) -> None:
    """OpenAI counts what was read from the cache among the input: at the cache's price, and not at both."""
    desk.far.script["big"] = [says(usage=(1000, 7), prompt_tokens_details={"cached_tokens": 800})]
    account = (await desk.stream())[-1].completed.account if streamed else (await desk.ask()).account
    assert (account.usage.input_tokens, account.usage.cached_input_tokens) == (1000, 800)
    assert nanos(account.cost) == 200 * 1000 + 800 * 100 + 7 * 10_000


def _anthropic(*events: dict[str, object]) -> list[bytes]:
    return [f"event: {each['type']}\n".encode() + event(each) for each in events]


def _message_start(output: int = 1) -> dict[str, object]:
    message = {"id": "m", "role": "assistant", "model": "opus", "usage": {"input_tokens": 40, "output_tokens": output}}
    return {"type": "message_start", "message": message}


BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}


def _words(text: str) -> dict[str, object]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


async def test_a_cut_stream_of_anthropic_costs_what_came(desk: Desk) -> None:
    """Its first message says 1 token of output, which is not all of the answer when the stream breaks."""
    desk.far.script["opus"] = [sends(*_anthropic(_message_start(), BLOCK, *[_words(TEN)] * 30), ends=False)]
    account = (await desk.stream(OPUS))[-1].failed.account
    assert (account.usage.input_tokens, account.usage.output_tokens, account.usage_estimated) == (40, 300, True)
    assert nanos(account.cost) == 40 * 3000 + 300 * 15000


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cache_for_an_hour_costs_twice_the_input(desk: Desk, streamed: bool) -> None:
    """As Anthropic charges it; what is written for five minutes costs the price list's rate."""
    parts = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 900}
    usage = {"input_tokens": 40, "cache_creation_input_tokens": 1000, "cache_creation": parts, "output_tokens": 7}
    start: dict[str, object] = {"type": "message_start", "message": {"model": "opus", "usage": usage}}
    change: dict[str, object] = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
    told = json.dumps({"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": usage}).encode()
    whole, pieces = (lambda far: far.answer(200, told)), _anthropic(start, BLOCK, _words("Hi"), change, {"type": "message_stop"})
    desk.far.script["opus"] = [sends(*pieces) if streamed else whole]
    account = (await desk.stream(OPUS))[-1].completed.account if streamed else (await desk.ask(OPUS)).account
    assert (account.usage.input_tokens, account.usage.cache_write_tokens) == (1040, 1000)
    assert nanos(account.cost) == 40 * 3000 + 100 * 3750 + 900 * 6000 + 7 * 15_000


async def _hung_up(desk: Desk, model: str, pieces: int) -> api.GetQueryResponse:
    """Reads so many words of a stream, hangs up, and gives the query once everything is at rest."""
    call = desk.streaming(model)
    read = 0
    async for each in call:
        read += bool(each.text)
        if read == pieces:
            break
    call.cancel()
    await desk.settled()
    [query_id] = await desk.query_ids()
    return await desk.query(query_id)


async def test_hanging_up_costs_what_came(desk: Desk) -> None:
    """The connection to the provider ends, what came is charged and told, nothing stays reserved or in flight."""
    await desk.limit("1")
    desk.far.script["big"] = [begins(*map(chunk, [TEN] * 10))]
    query = await _hung_up(desk, BIG, 10)
    assert query.state == State.STATE_FAILED
    assert (query.account.usage.output_tokens, query.account.usage_estimated) == (100, True)
    assert nanos(query.account.cost) == 6 * 1000 + 100 * 10_000
    assert attempts_of(query.account) == [(BIG, "CANCELLED")]
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (nanos(query.account.cost), 0)
    [failed] = await desk.told("provider.query.failed")
    assert failed.failure == FailureKind.FAILURE_KIND_CANCELLED
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "")], "nobody rests because a caller left"


async def test_hanging_up_on_anthropic_costs_what_came(desk: Desk) -> None:
    """Input as told, output by what came."""
    desk.far.script["opus"] = [begins(*_anthropic(_message_start(), BLOCK, *[_words(TEN)] * 5))]
    query = await _hung_up(desk, OPUS, 5)
    assert (query.account.usage.input_tokens, query.account.usage.output_tokens) == (40, 50)


@pytest.mark.parametrize("streamed", [False, True])
async def test_hanging_up_before_the_first_token_costs_nothing(desk: Desk, streamed: bool) -> None:
    """Nothing came, so nothing is charged."""
    await desk.limit("1")
    desk.far.script["big"] = [waits]
    task = asyncio.create_task(desk.stream() if streamed else desk.ask())
    await desk.far.arrived.wait()
    assert nanos((await desk.standing()).reserved) > 0
    task.cancel()
    await desk.settled()
    assert await desk.count("usage") == 0
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (0, 0)
    [query_id] = await desk.query_ids()
    assert (await desk.query(query_id)).state == State.STATE_FAILED


@pytest.mark.parametrize("failing", [fails(503), fails(429, "retry-after-ms: 1")], ids=["again", "moves on"])
async def test_hanging_up_at_any_moment(desk: Desk, failing: Reply) -> None:
    """Two hundred callers leave after a random number of turns of the loop, also within a transaction: nothing is ever left.

    The ledger, the budget and the queries' own accounts agree to the nano unit.
    """
    seed = int(os.environ.get("TOOLOO_TEST_SEED", "20261125"))
    await desk.limit("1000")
    desk.far.script["big"] = [failing if number % 5 == 0 else says([TEN] * 3, usage=None) for number in range(400)]
    chance = random.Random(seed)
    tasks = []
    for _ in range(200):
        tasks.append(asyncio.create_task(desk.stream("auto")))
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        if chance.random() < 0.7:
            chance.choice(tasks).cancel()
    await asyncio.wait(tasks)
    await desk.settled()
    accounts = [(await desk.query(each)).account for each in await desk.query_ids()]
    spent = sum(nanos(account.cost) for account in accounts)
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (spent, 0), f"seed {seed}"
    assert nanos((await desk.report()).total.cost) == spent
    assert not await desk.told("budget.reservation.reconciled")


async def test_hanging_up_through_the_door(desk: Desk, tmp_path: Path) -> None:
    """Curl is killed in the middle of a stream through Envoy: charged and at rest all the same."""
    desk.far.script["big"] = [begins(*map(chunk, [TEN] * 10))]
    door = door_on_free_ports(tmp_path, {"provider": catalogue.service("provider").grpc_services}, DoorSettings())
    door.descriptors.write_bytes(contracts.descriptor_path().read_bytes())
    socket = Path(desk.bench.address.removeprefix("unix:"))
    async with running_door(door, tmp_path, {"provider": [socket]}):
        body = {"model": BIG, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        url = f"http://127.0.0.1:{door.port}/v1/chat/completions"
        command = ("curl", "-sN", url, "-H", "content-type: application/json", "-d", json.dumps(body))
        curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert curl.stdout is not None
        seen = 0
        async with asyncio.timeout(60):
            while seen < 10:
                seen += (await curl.stdout.readline()).count(b"word ") > 0
        curl.kill()
        await curl.wait()
        await desk.settled()
    [query_id] = await desk.query_ids()
    query = await desk.query(query_id)
    assert (query.state, query.account.usage.output_tokens) == (State.STATE_FAILED, 100)
    assert nanos((await desk.report()).total.cost) == nanos(query.account.cost) > 0


async def test_what_routing_saved(desk: Desk) -> None:
    """Against the best model for the same tokens: nothing with the best, nine tenths with the small one."""
    await desk.ask(BIG)
    assert nanos((await desk.report()).total.saved) == 0
    await desk.ask(SMALL)
    assert nanos((await desk.report()).total.saved) == COST_OF_BIG - COST_OF_BIG // 10


async def test_two_prices_for_one_answer(desk: Desk) -> None:
    """A query that moved on pays the price of the model that answered, and is reported under it alone."""
    desk.far.script["big"] = [fails(404)]
    await desk.ask("auto", user_id="ada")
    rows = (await desk.report(group_by="model")).rows
    assert [(row.key, nanos(row.cost)) for row in rows] == [(MID, COST_OF_BIG // 2)]
