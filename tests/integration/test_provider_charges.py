"""Money of answered conversations: streams, hang-ups, caches, top-ups, denials and bursts; peers' failures by their names."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import burst_service_pb2 as bursts
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceStub
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
    WORDS,
    Desk,
    Event,
    Reply,
    attempts_of,
    begins,
    chunk,
    desk_on,
    event,
    fails,
    nanos,
    refused,
    says,
    sends,
    usage_alone,
    waits,
    words_of,
)

State = api.GetQueryResponse
Policy = bursts.BurstPolicy


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
        async with asyncio.timeout(20):
            while seen < 10:
                seen += (await curl.stdout.readline()).count(b"word ") > 0
        curl.kill()
        await curl.wait()
        await desk.settled()
    [query_id] = await desk.query_ids()
    query = await desk.query(query_id)
    assert (query.state, query.account.usage.output_tokens) == (State.STATE_FAILED, 100)
    assert nanos((await desk.report()).total.cost) == nanos(query.account.cost) > 0


async def _learned(desk: Desk) -> None:
    """Short answers so far, so that little is set aside; on a budget of their own."""
    for _ in range(25):
        await desk.ask(labels={"team": "before"})


async def _limit(desk: Desk, amount: str) -> None:
    """A budget of those who come after."""
    await desk.limit(amount, scope={"labels": {"team": "after"}})


async def test_a_long_answer_sets_more_aside_as_it_comes(desk: Desk) -> None:
    """What is reserved grows with the stream, so that others cannot spend what it will cost; in few transactions."""
    await _learned(desk)
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
    await _learned(desk)
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
    await _learned(desk)
    await _limit(desk, "0.05")
    answers = await asyncio.gather(*(desk.ask(most=6000, labels={"team": "after"}) for _ in range(12)))
    assert {each.account.model for each in answers} == {"big"}


async def test_the_worst_case_is_set_aside_where_the_settings_say_so(tmp_path: Path) -> None:
    """What a call may cost at most is held while it runs, however short answers were; more than the budget has is refused."""
    async with desk_on(tmp_path, reserve_worst_case="true") as strict:
        await _learned(strict)
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
    await _learned(desk)
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
    async with asyncio.timeout(20):
        while await desk.count("open") == 0:  # noqa: ASYNC110 - the store has no event of its own
            await asyncio.sleep(0.01)
    task.cancel()
    await desk.settled()
    assert len(desk.far.asked) == 1


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
