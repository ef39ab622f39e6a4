"""What happens when a model does not answer: another key, another model, a chain, a broken stream, or a refusal that says when."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import burst_service_pb2 as bursts
from tooloo.provider.v1 import chat_pb2, provider_pb2, selection_pb2
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceStub
from tooloo.provider.v1.health_pb2 import FailureKind
from tooloo.provider.v1.registry_service_pb2 import (
    ListProviderKeysRequest,
    ModelDefinition,
    RegisterModelRequest,
    SetModelEnabledRequest,
)
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub
from tooloo.provider.v1.selection_service_pb2 import SetAliasRequest, SetSelectionPolicyRequest
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from mesh.ids import new_id
from tests.integration.completing_bench import (
    BIG,
    COST_OF_BIG,
    DONE,
    MID,
    OPUS,
    SMALL,
    USED,
    WORDS,
    Desk,
    Reply,
    attempts_of,
    begins,
    chunk,
    desk_on,
    fails,
    nanos,
    refused,
    says,
    sends,
    waits,
    words_of,
)

State = api.GetQueryResponse
LONG = {"code": "context_length_exceeded"}
POLICY = {"code": "content_filter"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path) as running:
        yield running


@pytest.mark.parametrize("streamed", [False, True])
async def test_fallback_on_429(desk: Desk, streamed: bool) -> None:
    """The next of the selection answers, attempts say so, and the first one is not even called by the next query."""
    await desk.limit("1")
    desk.far.script["big"] = [fails(429, "retry-after: 60")]
    if streamed:
        events = await desk.stream("auto")
        assert events[0].started.model == "mid", "who answers is told when it is known"
        assert words_of(events) == "".join(WORDS)
        account = events[-1].completed.account
    else:
        account = (await desk.ask("auto")).account
    assert attempts_of(account) == [(BIG, "RATE_LIMITED"), (MID, "")]
    assert nanos(account.cost) == COST_OF_BIG // 2
    assert (await desk.query(account.query_id)).account == account
    assert await desk.at_rest(), "the reservation of neither model is left"
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG // 2, 0)
    assert not await desk.told("budget.reservation.reconciled"), "it was settled in time"
    assert attempts_of((await desk.ask("auto")).account) == [(MID, "")]
    assert desk.far.models == ["big", "mid", "mid"]
    [completed, _] = await desk.told("provider.query.completed")
    assert (completed.model, completed.attempts) == ("mid", 2)
    if streamed:
        # it counts from the query, not from the attempt that answered
        assert completed.first_token_latency.ToTimedelta() >= account.attempts[0].latency.ToTimedelta()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (fails(503), "SERVER_ERROR"),
        (fails(404), "NOT_FOUND"),
        (fails(408), "TIMEOUT"),
        (fails(402), "QUOTA_EXHAUSTED"),
        (lambda far: far.answer(200, b"<html>"), "MALFORMED"),
    ],
)
async def test_every_way_to_fail_moves_on(desk: Desk, reply: Reply, kind: str) -> None:
    """Whatever the first one does, the second answers, and the caller does not notice but in the account."""
    desk.far.script["big"] = [reply] * 3
    answer = await desk.ask("auto")
    assert answer.message.text == "".join(WORDS)
    attempts = attempts_of(answer.account)
    assert attempts[-1] == (MID, "")
    assert set(attempts[:-1]) == {(BIG, kind)}
    assert await desk.at_rest()


async def test_a_limited_key_is_skipped(desk: Desk) -> None:
    """The second key of the same provider answers for the same model; later calls begin with it."""
    first, second = await desk.add_key("acme", "key-a", 1), await desk.add_key("acme", "key-b", 0)
    desk.far.script["big"] = [fails(429, "retry-after: 60")]
    account = (await desk.ask("auto")).account
    assert [(each.key_id, each.failure) for each in account.attempts] == [
        (first, FailureKind.FAILURE_KIND_RATE_LIMITED),
        (second, 0),
    ]
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "")]
    assert desk.far.keys == ["key-a", "key-b", "key-b"]
    await desk.ask(SMALL)
    assert desk.far.keys[-1] == "key-a", "another model of the provider is not limited"


async def test_a_list_of_keys_says_when_each_was_used(desk: Desk) -> None:
    """To the minute, whatever came of it; one that no call needed never was."""
    used, spare = await desk.add_key("acme", "key-a", 1), await desk.add_key("acme", "key-b", 0)
    desk.far.script["big"] = [fails(500)]
    await desk.ask(BIG)
    listed = await RegistryServiceStub(desk.bench.channel).ListProviderKeys(ListProviderKeysRequest())
    keys = {key.key_id: key for key in listed.keys}
    ago = desk.bench.host.clock.now() - keys[used].last_used_time.ToDatetime(UTC)
    assert timedelta(0) <= ago < timedelta(minutes=2)
    assert keys[used].last_used_time.seconds % 60 == 0
    assert not keys[spare].HasField("last_used_time")


async def test_a_refused_key_rests_everywhere(desk: Desk) -> None:
    """After 401 the key is used for no model of the provider until somebody acts or time passes; a restart changes nothing."""
    await desk.add_key("acme", "key-a", 1)
    await desk.add_key("acme", "key-b", 0)
    desk.far.script["big"] = [fails(401)]
    assert attempts_of((await desk.ask(BIG)).account) == [(BIG, "UNAUTHENTICATED"), (BIG, "")]
    await desk.restart()
    await desk.ask(BIG)
    await desk.ask(SMALL)
    assert desk.far.keys == ["key-a", "key-b", "key-b", "key-b"]
    assert "key-a" not in str(await desk.bench.told()), "no key is told"


async def test_a_named_chain(desk: Desk) -> None:
    """It replaces what the selection would try next."""
    await desk.chain("cheap", general=[SMALL, OPUS])
    desk.far.script["big"] = [fails(500)] * 2
    assert attempts_of((await desk.ask("auto", fallback_chain="cheap")).account)[-1] == (SMALL, "")


async def test_the_default_chain(desk: Desk) -> None:
    """Who names a model has a way out only by a chain; the chain "default" is everybody's."""
    desk.far.script["big"] = [fails(404)]
    assert (await refused(desk.ask(BIG))).code is grpc.StatusCode.UNAVAILABLE
    await desk.chain("default", general=[SMALL])
    assert attempts_of((await desk.ask(BIG)).account) == [(SMALL, "")], "the model rests after its 404"
    desk.far.script["mid"] = [fails(404)]
    assert attempts_of((await desk.ask(MID)).account) == [(MID, "NOT_FOUND"), (SMALL, "")]


async def test_a_chain_for_what_is_too_long(desk: Desk) -> None:
    """CONTEXT_WINDOW goes where more fits: by its own chain, else to a candidate with a larger window."""
    await desk.chain("long", general=[SMALL], context_window=[OPUS])
    desk.far.script["big"] = [fails(400, **LONG)]
    opus = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    desk.far.script["opus"] = [lambda far: far.answer(200, json.dumps(opus).encode())]
    assert attempts_of((await desk.ask(BIG, fallback_chain="long")).account) == [(BIG, "CONTEXT_WINDOW"), (OPUS, "")]
    desk.far.script["big"] = [fails(400, **LONG)]
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "CONTEXT_WINDOW"), (MID, "")]


async def test_too_long_by_our_estimate(desk: Desk) -> None:
    """How long a text is in tokens its model knows: one that was named is asked, and what it says leads into the chain."""
    text = "long " * 4000
    assert (await desk.ask(SMALL, text=text)).account.model == "small"
    assert (await desk.ask("auto", text=text * 2)).account.model == "mid", "the best that it fits into by the estimate"
    await desk.chain("default", context_window=[MID])
    desk.far.script["small"] = [fails(400, **LONG)]
    assert attempts_of((await desk.ask(SMALL, text=text)).account) == [(SMALL, "CONTEXT_WINDOW"), (MID, "")]


async def test_no_way_out_leads_past_a_policy(desk: Desk) -> None:
    """What policy or operator keep out is not called: not by a chain, not by an alias's chain, not because a budget is thin."""
    constraints = selection_pb2.Constraints(forbidden=["brim"])
    policy = selection_pb2.SelectionPolicy(policy_id="ours", strategy=provider_pb2.STRATEGY_BEST, constraints=constraints)
    selections = SelectionServiceStub(desk.bench.channel)
    await selections.SetSelectionPolicy(SetSelectionPolicyRequest(policy=policy))
    alias = selection_pb2.Alias(alias="best", targets=[selection_pb2.Share(provider_id="acme", model="big", weight=1)])
    await selections.SetAlias(SetAliasRequest(alias=alias))
    await desk.chain("default", general=[MID, SMALL])
    for model in (BIG, "auto", "best"):
        desk.far.script["big"] = [fails(503)] * 2
        assert attempts_of((await desk.ask(model, policy_id="ours")).account)[-1] == (SMALL, ""), model
    await desk.limit("0.004", mode=Budget.MODE_DEGRADE)
    assert (await desk.ask("auto", policy_id="ours")).account.model == "small"
    assert "mid" not in desk.far.models


async def test_a_model_that_is_switched_off_is_in_no_chain(desk: Desk) -> None:
    """Its place in a chain is passed over."""
    await desk.chain("default", general=[MID, SMALL])
    off = SetModelEnabledRequest(provider_id="brim", model="mid", enabled=False)
    await RegistryServiceStub(desk.bench.channel).SetModelEnabled(off)
    desk.far.script["big"] = [fails(404)]
    assert attempts_of((await desk.ask(BIG)).account) == [(BIG, "NOT_FOUND"), (SMALL, "")]


async def test_a_model_without_a_price(desk: Desk) -> None:
    """It is refused by name, passed over by everything else, and never free."""
    riddle = ModelDefinition(provider_id="acme", model="riddle", context_window=9000, quality=1.0, tokens_per_second=100.0)
    await RegistryServiceStub(desk.bench.channel).RegisterModel(RegisterModelRequest(model=riddle))
    found = await refused(desk.ask("acme/riddle"))
    assert (found.code, found.metadata["commonest_exclusion"]) == (grpc.StatusCode.FAILED_PRECONDITION, "UNKNOWN_PRICE")
    await desk.chain("default", general=["acme/riddle", SMALL])
    assert (await desk.ask("auto")).account.model == "big"
    desk.far.script["big"] = [fails(404)]
    assert attempts_of((await desk.ask(BIG)).account) == [(BIG, "NOT_FOUND"), (SMALL, "")]
    assert "riddle" not in desk.far.models


async def test_a_chain_for_what_a_policy_refuses(desk: Desk) -> None:
    """CONTENT_POLICY goes to another provider."""
    desk.far.script["big"] = [fails(400, **POLICY)]
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "CONTENT_POLICY"), (MID, "")]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_callers_own_mistake(desk: Desk, status: int, streamed: bool) -> None:
    """INVALID_ARGUMENT with the provider's words: nobody else is asked, nothing is charged, nobody rests for it."""
    desk.far.script["big"] = [fails(status)]
    found = await refused((desk.stream if streamed else desk.ask)("auto"))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROVIDER_REFUSED")
    assert f"status {status}" in found.message
    assert desk.far.models == ["big"]
    assert await desk.count("usage") == 0
    assert await desk.at_rest()
    [failed] = await desk.told("provider.query.failed")
    assert (failed.failure, nanos(failed.cost), failed.attempts) == (FailureKind.FAILURE_KIND_BAD_REQUEST, 0, 1)
    assert (await desk.query(failed.query_id)).state == State.STATE_FAILED
    await desk.ask("auto")
    assert desk.far.models == ["big", "big"]


async def test_nobody_is_left(desk: Desk) -> None:
    """UNAVAILABLE with what was tried; the next one is refused at once and told when somebody comes back."""
    for model in ("big", "small", "mid", "opus"):
        desk.far.script[model] = [fails(503)] * 4
    found = await refused(desk.ask("auto"))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_FAILED")
    assert found.retry_after is not None
    query = await desk.query(found.metadata["query_id"])
    assert query.state == State.STATE_FAILED
    assert {model for model, _ in attempts_of(query.account)} == {BIG, MID, SMALL, OPUS}
    assert len(query.account.attempts) == int(found.metadata["attempts"])
    assert await desk.count("usage") == 0
    assert await desk.at_rest()


async def test_everybody_rests(desk: Desk) -> None:
    """After 429 of the only model: RESOURCE_EXHAUSTED with the provider's Retry-After, and the provider is left in peace."""
    desk.far.script["big"] = [fails(429, "retry-after: 600")]
    assert (await refused(desk.ask(BIG))).code is grpc.StatusCode.UNAVAILABLE
    found = await refused(desk.ask(BIG))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REMOTE_RATE_LIMITED")
    assert found.retry_after is not None
    assert 590 < found.retry_after.total_seconds() <= 600
    desk.far.script["mid"] = [fails(404)]
    await refused(desk.ask(MID))
    gone = await refused(desk.ask(MID))
    assert gone.code is grpc.StatusCode.UNAVAILABLE
    assert gone.retry_after is not None
    assert gone.retry_after.total_seconds() > 60
    assert desk.far.models == ["big", "mid"]
    assert await desk.count("running") == 0


async def test_a_short_retry_after_is_waited_for(desk: Desk) -> None:
    """With nobody else to ask and time enough, the caller gets the answer and not the 429."""
    desk.far.script["big"] = [fails(429, "retry-after-ms: 20")]
    assert attempts_of((await desk.ask(BIG)).account) == [(BIG, "RATE_LIMITED"), (BIG, "")]
    assert await desk.at_rest()


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
    begun = time.monotonic()
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
    await desk.settled()
    assert time.monotonic() - begun < 15, "it waited for its own longest time instead"
    assert await desk.count("usage") == 0


async def test_the_deadline_within_a_stream(desk: Desk) -> None:
    """What came until then was paid for; the caller is told that it is over."""
    desk.far.script["big"] = [begins(chunk("one two three"))]
    events = await desk.stream(BIG, seconds=2)
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


async def test_a_session_stays_with_who_answered(desk: Desk) -> None:
    """The first model did not answer, the second did: the session goes on with the second, though the first is well again."""
    desk.far.script["big"] = [fails(503)] * 2
    assert (await desk.ask("auto", session_id="s")).account.model == "mid"
    assert attempts_of((await desk.ask("auto", session_id="s")).account) == [(MID, "")]
    assert (await desk.ask("auto", session_id="other")).account.model == "big"


async def test_a_long_beginning_is_cached_by_who_answered(desk: Desk) -> None:
    """The model that was chosen did not answer: the next request knows that the other one has seen its instructions."""
    desk.far.script["big"] = [fails(404)]
    messages = [
        chat_pb2.ChatMessage(role=chat_pb2.ROLE_SYSTEM, text="Be kind. " * 1000),
        chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="hello"),
    ]
    assert (await desk.ask("auto", messages=messages)).account.model == "mid"
    account = (await desk.ask("auto", messages=messages)).account
    selection = await desk.provider.GetSelection(provider_api.GetSelectionRequest(selection_id=account.query_id))
    cached = {candidate.model: candidate.cached_input_tokens for candidate in selection.candidates}
    assert cached["mid"] > 1024
    assert cached["small"] == 0


async def test_hanging_up_in_the_queue_of_a_trial(tmp_path: Path) -> None:
    """Who leaves before their trial of a model that failed was made leaves it to the next one, who need not wait for the lease."""
    async with desk_on(tmp_path, breaker_in_row="1", breaker_open="1ms", retries_server_error="0") as desk:
        stub, length = BurstServiceStub(desk.bench.channel), Duration(seconds=25)
        desk.far.script["big"] = [fails(500)]
        await refused(desk.ask(BIG))
        policy = bursts.BurstPolicy(
            policy_id="p", measure=bursts.BurstPolicy.MEASURE_REQUESTS, mode=bursts.BurstPolicy.MODE_QUEUE, rate=1, period=length
        )
        await stub.SetBurstPolicy(bursts.SetBurstPolicyRequest(policy=policy))
        await desk.ask(MID)
        task = asyncio.create_task(desk.ask(BIG))
        async with asyncio.timeout(20):
            while await desk.count("open") == 0:  # noqa: ASYNC110 - the store has no event of its own
                await asyncio.sleep(0.01)
        task.cancel()
        await desk.settled()
        await stub.DeleteBurstPolicy(bursts.DeleteBurstPolicyRequest(policy_id="p"))
        assert (await desk.ask(BIG)).account.model == "big"


async def test_attempts_of_many_at_once(desk: Desk) -> None:
    """Forty queries while a model fails now and then: every one is answered, each charged once, nothing left."""
    desk.far.script["big"] = [fails(503), says(), fails(500), fails(503)] * 10
    answers = await asyncio.gather(*(desk.ask("auto", request_id=new_id()) for _ in range(40)))
    assert {each.message.text for each in answers} == {"".join(WORDS)}
    assert await desk.count("usage") == 40
    assert await desk.at_rest()
    total = (await desk.report()).total
    assert nanos(total.cost) == sum(nanos(each.account.cost) for each in answers)
    assert (total.calls, total.input_tokens) == (40, 40 * USED[0])


async def test_a_stream_that_says_nothing(desk: Desk) -> None:
    """An answer without a word is an answer: started, then completed."""
    desk.far.script["big"] = [sends(chunk(finish="stop", usage=(11, 0)), DONE)]
    events = await desk.stream(BIG)
    assert [each.WhichOneof("event") for each in events] == ["started", "completed"]
    assert events[-1].completed.account.usage.input_tokens == 11
