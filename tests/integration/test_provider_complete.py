"""Conversations answered: whole and streamed, what is told and charged for them, who may answer, and repeats of a request."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from tooloo.provider.v1 import chat_pb2, selection_pb2
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.availability_service_pb2 import ListAvailabilityRequest
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.selection_service_pb2 import SetAliasRequest
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from mesh.ids import new_id
from services.provider import echo
from tests.integration.calling_bench import MODELS, service_before
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
    asked,
    attempts_of,
    begins,
    body_of,
    chunk,
    desk_on,
    fails,
    nanos,
    refused,
    usage_alone,
    words_of,
)
from tests.peers.aimock import aimock

State = api.GetQueryResponse
TOOL = chat_pb2.ToolDefinition(name="get_weather", description="Weather of a city")
TOOL.parameters.update({"type": "object", "properties": {"city": {"type": "string", "maxLength": 40}}, "required": ["city"]})
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path) as running:
        yield running


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_and_its_account(desk: Desk, streamed: bool) -> None:
    """Words, usage and cost are the provider's; ledger, budget, query and events say the same."""
    await desk.limit("1")
    if streamed:
        events = await desk.stream(user_id="ada")
        assert [each.WhichOneof("event") for each in events] == ["started", *["text"] * len(WORDS), "completed"]
        assert words_of(events) == "".join(WORDS)
        account, finish = events[-1].completed.account, events[-1].completed.finish_reason
        assert (events[0].started.query_id, events[0].started.provider_id) == (account.query_id, "acme")
    else:
        answer = await desk.ask(user_id="ada")
        assert answer.message.text == "".join(WORDS)
        assert answer.message.role == chat_pb2.ROLE_ASSISTANT
        account, finish = answer.account, answer.finish_reason
    assert finish == chat_pb2.FINISH_REASON_STOP
    assert (account.provider_id, account.model, account.usage_estimated) == ("acme", "big", False)
    assert (account.usage.input_tokens, account.usage.output_tokens) == USED
    assert nanos(account.cost) == COST_OF_BIG
    assert attempts_of(account) == [(BIG, "")]
    standing = await desk.standing()
    assert (nanos(standing.spent), nanos(standing.reserved)) == (COST_OF_BIG, 0)
    query = await desk.query(account.query_id)
    assert (query.state, query.account) == (State.STATE_COMPLETED, account)
    assert query.create_time.ToDatetime() <= query.end_time.ToDatetime()
    assert await desk.at_rest()
    assert await desk.count("usage") == 1
    [row] = (await desk.report(group_by="model")).rows
    assert (row.key, nanos(row.cost), row.input_tokens, row.output_tokens, row.calls) == (BIG, COST_OF_BIG, *USED, 1)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_told(desk: Desk, streamed: bool) -> None:
    """Started with what is set aside, completed with what was used; the time to the first token only where there was one."""
    fields: dict[str, Any] = {"user_id": "ada", "labels": {"team": "red"}, "focus_area": "python"}
    answer = (await desk.stream(**fields))[-1].completed if streamed else await desk.ask(**fields)
    [started], [completed] = await desk.told("provider.query.started"), await desk.told("provider.query.completed")
    assert not await desk.told("provider.query.failed")
    for each in (started, completed):
        assert (each.query_id, each.provider_id, each.model) == (answer.account.query_id, "acme", "big")
        assert (each.user_id, each.focus_area, dict(each.labels)) == ("ada", "python", {"user": "ada", "team": "red"})
    assert nanos(started.reserved) > 0
    assert (completed.usage.input_tokens, completed.usage.output_tokens) == USED
    assert (nanos(completed.cost), completed.attempts) == (COST_OF_BIG, 1)
    assert completed.finish_reason == chat_pb2.FINISH_REASON_STOP
    assert completed.HasField("first_token_latency") is streamed
    assert completed.latency.ToTimedelta() > completed.first_token_latency.ToTimedelta()
    envelopes = [each for each in await desk.bench.told() if each.type.startswith("provider.query.")]
    assert [each.subject for each in envelopes] == [f"queries/{answer.account.query_id}"] * 2
    assert [each.attributes["user"] for each in envelopes] == ["ada"] * 2


async def test_its_selection_has_the_id_of_the_query(desk: Desk) -> None:
    """So that a thumb up finds the model that answered."""
    answer = await desk.ask("auto", user_id="ada")
    found = await desk.provider.GetSelection(provider_api.GetSelectionRequest(selection_id=answer.account.query_id))
    assert (found.provider_id, found.model) == ("acme", "big")
    [selected] = await desk.told("provider.selected")
    assert selected.selection_id == answer.account.query_id


async def test_who_may_answer(desk: Desk) -> None:
    """A model by its name, with its provider, by an alias, or the best."""
    alias = selection_pb2.Alias(alias="quick", targets=[selection_pb2.Share(provider_id="acme", model="small", weight=1)])
    await SelectionServiceStub(desk.bench.channel).SetAlias(SetAliasRequest(alias=alias))
    for name, who in {"mid": MID, "acme/small": SMALL, "quick": SMALL, "auto": BIG, "": BIG}.items():
        account = (await desk.ask(name)).account
        assert f"{account.provider_id}/{account.model}" == who, name
    assert desk.far.models == ["mid", "small", "small", "big", "big"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_unknown_name(desk: Desk, streamed: bool) -> None:
    """NOT_FOUND for model, chain and policy; nobody is called and nothing is left behind."""
    call = desk.stream if streamed else desk.ask
    for model, fields in (("acme/none", {}), ("nobody/big", {}), (BIG, {"fallback_chain": "none"}), (BIG, {"policy_id": "none"})):
        assert (await refused(call(model, **fields))).code is grpc.StatusCode.NOT_FOUND, model
    assert (await refused(desk.query(new_id()))).code is grpc.StatusCode.NOT_FOUND
    assert not desk.far.asked
    assert await desk.count("usage") == 0
    assert await desk.at_rest()


async def test_what_is_no_conversation(desk: Desk) -> None:
    """INVALID_ARGUMENT names the message that says nothing, and a limit that is none."""
    empty = [chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="hi"), chat_pb2.ChatMessage(role=chat_pb2.ROLE_ASSISTANT)]
    found = await refused(desk.ask(messages=empty))
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "messages[1]" in found.message
    assert (await refused(desk.ask(seconds=0))).code is grpc.StatusCode.INVALID_ARGUMENT
    assert not desk.far.asked


async def test_the_echo_stands_in(tmp_path: Path) -> None:
    """With no provider configured it answers and says what it is, for nothing; by its name it answers beside others."""
    registry = tmp_path / "only.toml"
    registry.write_text(
        '[providers.acme]\nkey_environment = ["NO_SUCH_KEY"]\nbase_url = "http://127.0.0.1:9"\n'
        'models.big = { quality = 0.9, tokens_per_second = 9, context_window = 9000, price = { input = "1", output = "1" } }\n'
        '[providers.local]\ndialect = "echo"\nlocal = true\n'
        "models = { echo = { quality = 0.0, tokens_per_second = 1000, context_window = 100000 } }\n"
    )
    async with desk_on(tmp_path, registry_file=str(registry), require_key="auto") as desk:
        for name in ("auto", "echo", "local/echo"):
            answer = await desk.ask(name, text="anybody there?")
            assert answer.message.text == f"{echo.NOTICE}anybody there?"
            assert (answer.account.provider_id, nanos(answer.account.cost)) == ("local", 0)
        assert words_of(await desk.stream("auto", text="and so?")) == f"{echo.NOTICE}and so?"
        found = await refused(desk.ask("acme/big"))
        assert found.code is grpc.StatusCode.FAILED_PRECONDITION, "a model that was named is not replaced by the echo"


async def test_the_echo_by_its_name(desk: Desk) -> None:
    """Others are configured, and there is a default chain: who asks for the echo gets the echo."""
    await desk.chain("default", general=[SMALL])
    assert (await desk.ask("local/echo")).account.model == "echo"
    assert (await desk.ask("auto")).account.model == "big"
    assert desk.far.models == ["big"]


@pytest.mark.parametrize("model", MODELS)
async def test_tools_pass_through_in_every_dialect(tmp_path: Path, model: str) -> None:
    """The far end's journal has instructions and tools, and the model's call of a tool comes back, whole and streamed."""
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    async with (
        aimock(tmp_path, [{"match": {"userMessage": "weather"}, "response": {"toolCalls": [call]}}]) as mock,
        service_before(mock.url, tmp_path) as bench,
    ):
        fields = {
            "messages": [
                chat_pb2.ChatMessage(role=chat_pb2.ROLE_SYSTEM, text="Be brief."),
                chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="weather"),
            ],
            "tools": [TOOL],
            "most": 300,
        }
        stub = CompletionServiceStub(bench.channel)
        answer = await stub.Complete(asked(api.CompleteRequest, model, "", **fields))
        assert answer.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS
        [part] = answer.message.parts
        assert (part.tool_call.name, json.loads(part.tool_call.arguments)) == ("get_weather", {"city": "Paris"})
        events = [each async for each in stub.StreamComplete(asked(api.StreamCompleteRequest, model, "", **fields))]
        pieces = [each.tool_call for each in events if each.HasField("tool_call")]
        assert pieces[0].name == "get_weather"
        assert json.loads("".join(piece.arguments for piece in pieces)) == {"city": "Paris"}
        assert events[-1].completed.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS
        for entry in await mock.journal():
            body = json.dumps(entry["body"])
            assert "Be brief." in body
            assert "Weather of a city" in body


@pytest.mark.parametrize("model", [BIG, OPUS])
async def test_pictures_and_numbers_arrive_as_they_are(desk: Desk, model: str) -> None:
    """A picture's bytes, and whole numbers of a tool's schema as integers, in the order that comes again."""
    body = {"type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "a dot"}]}
    desk.far.script["opus"] = [lambda far: far.answer(200, json.dumps({**body, "stop_reason": "end_turn"}).encode())] * 2
    picture = chat_pb2.ImagePart(media_type="image/png", data=PNG)
    message = chat_pb2.ChatMessage(text="what is it?", parts=[chat_pb2.ChatPart(image=picture)])
    for _ in range(2):
        assert (await desk.ask(model, messages=[message], tools=[TOOL.FromString(TOOL.SerializeToString())])).message.text
    first, second = desk.far.asked
    assert first.body == second.body
    assert base64.b64encode(PNG) in first.body
    assert b'"maxLength":40' in first.body.replace(b": ", b":")


async def test_how_an_answer_is_made(desk: Desk) -> None:
    """Every wish of the generation's configuration is in the provider's request."""
    schema = Struct()
    schema.update({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}})
    wishes = chat_pb2.GenerationConfig(
        max_output_tokens=50, temperature=0.5, top_p=0.25, stop=["END"], seed=7, response_schema=schema, tool_choice="none"
    )
    await desk.ask(generation=wishes, tools=[TOOL])
    body = body_of(desk.far.asked[0])
    assert (body["temperature"], body["top_p"], body["stop"], body["seed"]) == (0.5, 0.25, ["END"], 7)
    assert 50 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert body["tool_choice"] == "none"
    assert body["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1}},
    }


async def test_an_answer_goes_back_with_the_next_question(desk: Desk) -> None:
    """What came as a call of a tool is understood as such when it is given back with the result."""
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    message = {"role": "assistant", "content": "Let me look.", "tool_calls": [{k: v for k, v in call.items() if k != "index"}]}
    body = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    desk.far.script["big"] = [lambda far: far.answer(200, json.dumps(body).encode())]
    answer = await desk.ask(tools=[TOOL])
    assert answer.message.text == "Let me look."
    result = chat_pb2.ToolResultPart(call_id=answer.message.parts[0].tool_call.call_id, text="sunny")
    await desk.ask(
        tools=[TOOL],
        messages=[
            chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="weather?"),
            answer.message,
            chat_pb2.ChatMessage(role=chat_pb2.ROLE_TOOL, parts=[chat_pb2.ChatPart(tool_result=result)]),
        ],
    )
    said = body_of(desk.far.asked[1])["messages"]
    assert [each["role"] for each in said] == ["user", "assistant", "tool"]
    assert said[1]["tool_calls"][0]["function"] == call["function"]
    assert said[2] == {"role": "tool", "tool_call_id": "c1", "content": "sunny"}


async def test_labels_reach_budgets_and_reports(desk: Desk) -> None:
    """A budget of a team counts its calls alone, and each label is something to report by."""
    await desk.limit("1", "red", scope={"labels": {"team": "red"}})
    await desk.ask(labels={"team": "red", "tag": "x"}, user_id="ada")
    await desk.ask(labels={"team": "blue"}, user_id="bob")
    assert nanos((await desk.standing("red")).spent) == COST_OF_BIG
    assert [(row.key, nanos(row.cost)) for row in (await desk.report(group_by="team")).rows] == [
        ("blue", COST_OF_BIG),
        ("red", COST_OF_BIG),
    ]
    assert [row.key for row in (await desk.report(group_by="user")).rows] == ["ada", "bob"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_repeat_gives_the_first_answer(desk: Desk, streamed: bool) -> None:
    """The same id calls nobody and costs nothing, whole or as a stream, also after a restart; tools are part of the request."""
    request_id = new_id()
    first = await desk.ask(request_id=request_id, tools=[TOOL], user_id="ada")
    for _ in range(2):
        if streamed:
            events = await desk.stream(request_id=request_id, tools=[TOOL], user_id="ada")
            assert events[0].started.query_id == first.account.query_id
            assert words_of(events) == first.message.text
            assert events[-1].completed.account == first.account
        else:
            assert await desk.ask(request_id=request_id, tools=[TOOL], user_id="ada") == first
        await desk.restart()
    assert len(desk.far.asked) == 1
    assert await desk.count("usage") == 1
    assert len(await desk.told("provider.query.completed")) == 1


async def test_a_repeat_of_a_stream(desk: Desk) -> None:
    """What was streamed first comes again whole, too."""
    request_id = new_id()
    first = await desk.stream(request_id=request_id)
    assert (await desk.ask(request_id=request_id)).message.text == words_of(first)
    assert len(desk.far.asked) == 1


async def test_a_request_id_belongs_to_one_request(desk: Desk) -> None:
    """ALREADY_EXISTS for anything else under it, whatever differs."""
    request_id = new_id()
    await desk.ask(request_id=request_id, user_id="ada", labels={"team": "red"})
    await desk.chain("other", general=[SMALL])
    differences: tuple[dict[str, Any], ...] = (
        {"text": "other words"},
        {"model": SMALL},
        {"user_id": "bob"},
        {"labels": {"team": "blue"}},
        {"most": 5},
        {"tools": [TOOL]},
        {"fallback_chain": "other"},
    )
    for different in differences:
        fields: dict[str, Any] = {"user_id": "ada", "labels": {"team": "red"}, **different}
        found = await refused(desk.ask(**fields, request_id=request_id))
        assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"), different
    assert len(desk.far.asked) == 1


async def test_a_repeat_while_the_first_runs(desk: Desk) -> None:
    """UNAVAILABLE, and when to come again; then the answer. The provider is called once."""
    go, request_id = asyncio.Event(), new_id()
    desk.far.script["big"] = [begins(chunk("one"), then=go, last=[chunk(finish="stop"), usage_alone(USED), DONE])]
    call = aiter(desk.streaming(request_id=request_id))
    assert (await anext(call)).HasField("started")
    found = await refused(desk.ask(request_id=request_id))
    assert found.code is grpc.StatusCode.UNAVAILABLE
    assert found.retry_after is not None
    assert found.retry_after.total_seconds() > 0
    go.set()
    assert words_of([each async for each in call]) == "one"
    assert (await desk.ask(request_id=request_id)).message.text == "one"
    assert len(desk.far.asked) == 1


async def test_a_query_that_runs_is_on_its_way_with_its_model(desk: Desk) -> None:
    """The least busy model is found by it; it counts no more when it has ended, and neither do those that had ended before."""
    await desk.ask()
    go = asyncio.Event()
    desk.far.script["big"] = [begins(chunk("one"), then=go, last=[chunk(finish="stop"), usage_alone(USED), DONE])]
    call = aiter(desk.streaming())
    assert (await anext(call)).HasField("started")
    assert await _on_their_way(desk) == {BIG: 1}
    go.set()
    assert words_of([each async for each in call]) == "one"
    assert await _on_their_way(desk) == {}


async def _on_their_way(desk: Desk) -> dict[str, int]:
    """Calls on their way by model, as everybody sees them."""
    entries = (await AvailabilityServiceStub(desk.bench.channel).ListAvailability(ListAvailabilityRequest())).entries
    return {f"{entry.provider_id}/{entry.model}": entry.in_flight for entry in entries if entry.in_flight}


async def test_a_request_id_is_free_again_after_a_failure(desk: Desk) -> None:
    """What failed may be tried again under the same id."""
    request_id = new_id()
    desk.far.script["big"] = [fails(400), fails(400)]
    for _ in range(2):
        assert (await refused(desk.ask(request_id=request_id))).code is grpc.StatusCode.INVALID_ARGUMENT
    answer = await desk.ask(request_id=request_id)
    assert answer.message.text == "".join(WORDS)
    assert await desk.ask(request_id=request_id) == answer


async def test_many_at_once_under_one_id(desk: Desk) -> None:
    """Twenty repeats at the same moment: one call to the provider, one charge, one answer."""
    request_id = new_id()

    found = await asyncio.gather(*(desk.ask(request_id=request_id) for _ in range(20)), return_exceptions=True)
    errors = [each for each in found if isinstance(each, grpc.aio.AioRpcError)]
    assert all(error.code() is grpc.StatusCode.UNAVAILABLE for error in errors), errors
    answers = [each for each in found if isinstance(each, api.CompleteResponse)]
    assert len(answers) + len(errors) == 20
    assert len({each.SerializeToString(deterministic=True) for each in answers}) == 1
    assert len(desk.far.asked) == 1
    assert await desk.count("usage") == 1


async def test_anthropics_dialect_behind_the_same_call(desk: Desk) -> None:
    """Its cache counts once: read at its own price, and so written."""
    usage = {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 50}
    body = {"type": "message", "role": "assistant", "model": "opus", "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn", "usage": usage}  # fmt: skip
    desk.far.script["opus"] = [lambda far: far.answer(200, json.dumps(body).encode())]
    account = (await desk.ask(OPUS)).account
    told = account.usage
    assert (told.input_tokens, told.cached_input_tokens, told.cache_write_tokens, told.output_tokens) == (160, 100, 50, 4)
    assert nanos(account.cost) == 10 * 3000 + 100 * 300 + 50 * 3750 + 4 * 15000
