"""What happens when a model does not answer: another key, another model, or a refusal that says when."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.provider.v1 import burst_service_pb2 as bursts
from tooloo.provider.v1 import chat_pb2
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceStub
from tooloo.provider.v1.health_pb2 import FailureKind
from tooloo.provider.v1.registry_service_pb2 import (
    ListProviderKeysRequest,
    ListProvidersRequest,
    UpdateProviderKeyRequest,
    UpdateProviderRequest,
)
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub

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
    chunk,
    desk_on,
    fails,
    nanos,
    refused,
    says,
    usage_alone,
    waits,
    words_of,
)
from tests.integration.remote_bench import Far
from tests.support.waiting import turns

State = api.GetQueryResponse


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


async def test_who_had_a_key_is_not_called_without_one(desk: Desk) -> None:
    """The only key of a provider that would take callers without any has ended: it is not called, and another one answers."""
    key, end = await desk.add_key("acme", "key-a"), Timestamp()
    end.FromDatetime(desk.bench.host.clock.now())
    await RegistryServiceStub(desk.bench.channel).UpdateProviderKey(UpdateProviderKeyRequest(key_id=key, end_time=end))
    found = await refused(desk.ask(BIG))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CANDIDATE")
    assert "no key that can be used" in found.message
    assert not desk.far.asked
    assert (await desk.ask("auto")).account.provider_id != "acme"
    assert desk.far.keys == [""]


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
        async with asyncio.timeout(60):
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


async def test_a_whole_answer_may_take_longer_than_a_first_token(tmp_path: Path, leap: Callable[[float], None]) -> None:
    """Providers send the head of a whole answer with its end: no limit of a stream's beginning ends it, its own limit does."""

    async def slowly(far: Far) -> None:
        leap(90)
        await says()(far)

    async def never(far: Far) -> None:
        leap(90)
        await waits(far)

    async with desk_on(tmp_path, first_token_timeout="60s") as desk:
        desk.far.script["big"] = [slowly, slowly]
        answer = await desk.ask("auto")
        assert (answer.message.text, attempts_of(answer.account)) == ("".join(WORDS), [(BIG, "")])
        events = await desk.stream("auto")
        assert attempts_of(events[-1].completed.account) == [(BIG, "TIMEOUT"), (MID, "")]
    (hasty := tmp_path / "hasty").mkdir()
    async with desk_on(hasty, whole_answer_timeout="60s") as desk:
        desk.far.script["big"] = [never]
        assert attempts_of((await desk.ask("auto")).account) == [(BIG, "TIMEOUT"), (MID, "")]


async def test_a_model_that_thinks_may_be_silent(tmp_path: Path, leap: Callable[[float], None]) -> None:
    """OpenAI's models say nothing of a stream while they think, before its head and after it: no limit for others ends them."""

    async def thinking(far: Far) -> None:
        leap(90)
        await far.begin()
        await turns()
        leap(90)
        for piece in (chunk("Hi"), chunk(finish="stop"), usage_alone(USED), DONE):
            await far.chunk(piece)
        await far.chunk(b"")

    async with desk_on(tmp_path, first_token_timeout="60s") as desk:
        registry = RegistryServiceStub(desk.bench.channel)
        [acme] = [each for each in (await registry.ListProviders(ListProvidersRequest())).providers if each.provider_id == "acme"]
        acme.timeouts.idle.FromTimedelta(timedelta(minutes=1))
        await registry.UpdateProvider(UpdateProviderRequest(provider=acme))
        desk.far.script["big"] = [thinking, thinking]
        thinks = chat_pb2.GenerationConfig(reasoning_effort="high")
        assert words_of(await desk.stream("auto", generation=thinks)) == "Hi"
        assert attempts_of((await desk.stream("auto"))[-1].completed.account) == [(BIG, "TIMEOUT"), (MID, "")]
