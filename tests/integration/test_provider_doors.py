"""The compatible doors as the official clients of OpenAI and Anthropic meet them: real packages, real Envoy, aimock as provider."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google.type.money_pb2 import Money
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.provider_service_pb2 import SetBudgetRequest
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.selection_pb2 import Alias, Constraints, SelectionPolicy, Share
from tooloo.provider.v1.selection_service_pb2 import DeleteAliasRequest, SetAliasRequest, SetSelectionPolicyRequest
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from tests.integration.calling_bench import MODELS, Calling, door_to_aimock
from tests.peers.aimock import Mock

WEATHER: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[tuple[Calling, Mock]]:
    """The door and the far end."""
    async with door_to_aimock(tmp_path) as both:
        yield both


def openai_client(calling: Calling) -> openai.AsyncOpenAI:
    """The official client with its base URL changed; a machine that stands still may take longer than 5 s to connect."""
    patient = openai.Timeout(600, connect=60)
    return openai.AsyncOpenAI(base_url=f"{calling.url}/v1", api_key="caller-key", max_retries=0, timeout=patient)


def anthropic_client(calling: Calling) -> anthropic.AsyncAnthropic:
    """The same of Anthropic."""
    patient = anthropic.Timeout(600, connect=60)
    return anthropic.AsyncAnthropic(base_url=calling.url, api_key="caller-key", max_retries=0, timeout=patient)


async def test_openai_client_completes_with_every_provider(ends: tuple[Calling, Mock]) -> None:
    """Whole and streamed, the same words from each dialect behind the door."""
    async with openai_client(ends[0]) as client:
        for model in MODELS:
            whole = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
            assert whole.choices[0].message.content == "Hello! How can I help you today?", model
            assert whole.choices[0].finish_reason == "stop"
            stream = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}], stream=True)
            chunks = [chunk async for chunk in stream]
            words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert words == whole.choices[0].message.content, model
            assert chunks[-1].choices[0].finish_reason == "stop"
            assert all(chunk.usage is None for chunk in chunks), "usage that nobody asked for"


async def test_anthropic_client_completes_with_every_provider(ends: tuple[Calling, Mock]) -> None:
    """The accumulating helper of the package, too, understands our events."""
    async with anthropic_client(ends[0]) as client:
        for model in MODELS:
            whole = await client.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": "hello"}])
            assert whole.content[0].type == "text"
            assert whole.content[0].text == "Hello! How can I help you today?", model
            async with client.messages.stream(
                model=model, max_tokens=100, messages=[{"role": "user", "content": "hello"}]
            ) as stream:
                final = await stream.get_final_message()
            assert final.content[0].type == "text"
            assert final.content[0].text == whole.content[0].text, model
            assert final.stop_reason == "end_turn"


async def test_usage_is_asked_of_the_provider_and_shown_to_who_asks(ends: tuple[Calling, Mock]) -> None:
    """The provider is always asked for the usage of a stream; the caller sees it only when asking."""
    calling, mock = ends
    async with openai_client(calling) as client:
        stream = await client.chat.completions.create(
            model=MODELS[0],
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (11, 7)
    asked = (await mock.journal())[-1]["body"]
    assert asked["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("model", MODELS)
async def test_tool_calls_pass_through(ends: tuple[Calling, Mock], model: str) -> None:
    """Both clients get the call of a tool from every provider, whole and streamed."""
    async with openai_client(ends[0]) as client, anthropic_client(ends[0]) as other:
        tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}}
        whole = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "weather"}],
            tools=[tool],  # type: ignore[list-item] # a plain dict
        )
        assert whole.choices[0].finish_reason == "tool_calls"
        [call] = whole.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
        async with other.messages.stream(
            model=model,
            max_tokens=100,
            messages=[{"role": "user", "content": "weather"}],
            tools=[{"name": "get_weather", "input_schema": WEATHER}],
        ) as stream:
            final = await stream.get_final_message()
        assert final.stop_reason == "tool_use"
        [block] = final.content
        assert block.type == "tool_use"
        assert (block.name, block.input) == ("get_weather", {"city": "Paris"})


async def test_a_stream_is_byte_exact(ends: tuple[Calling, Mock]) -> None:
    """Events as OpenAI writes them, `data: [DONE]` last, through Envoy unchanged; headers say who answered."""
    body = {"model": "local/echo", "messages": [{"role": "user", "content": "ping"}], "stream": True}
    async with httpx.AsyncClient(base_url=ends[0].url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json=body, headers={"accept": "text/event-stream"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-tooloo-model"] == "echo"
    assert "x-tooloo-status" not in answer.headers
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: {") for event in events[:-2])
    first = json.loads(events[0].removeprefix("data: "))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "This"}


async def test_models_are_listed_for_both_clients(ends: tuple[Calling, Mock]) -> None:
    """The official clients page through and find one by its id; an alias stands among them as long as there is one."""
    alias = Alias(alias="quick", targets=[Share(provider_id="openai", model="gpt-5-mini", weight=1)])
    stub = SelectionServiceStub(ends[0].service.channel)
    await stub.SetAlias(SetAliasRequest(alias=alias))
    async with openai_client(ends[0]) as client, anthropic_client(ends[0]) as other:
        ids = [model.id async for model in client.models.list()]
        assert {*MODELS, "auto", "quick", "local/echo"} == set(ids)
        assert (await client.models.retrieve("quick")).owned_by == "tooloo"
        assert (await client.models.retrieve("gpt-5-mini")).id == "openai/gpt-5-mini"
        assert {model.id async for model in other.models.list(limit=2)} == set(ids)
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("no-such-model")
        await stub.DeleteAlias(DeleteAliasRequest(alias="quick"))
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("quick")


async def test_tokens_are_counted_by_estimate(ends: tuple[Calling, Mock]) -> None:
    """An answer in Anthropic's form that grows with the text."""
    async with anthropic_client(ends[0]) as client:
        short = await client.messages.count_tokens(model="auto", messages=[{"role": "user", "content": "x" * 35}])
        long = await client.messages.count_tokens(model="auto", messages=[{"role": "user", "content": "x" * 3500}])
    assert short.input_tokens == 14
    assert long.input_tokens - short.input_tokens == 990


async def test_budgets_hold_at_every_door(ends: tuple[Calling, Mock]) -> None:
    """No way round a budget: bifrost#2873 (passthrough ignores budgets), litellm#26672 (enforcement bypassed)."""
    calling, mock = ends
    limit = Budget(budget_id="cap", limit=Money(currency_code="USD", nanos=1), mode=Budget.MODE_DENY)
    await ProviderServiceStub(calling.service.channel).SetBudget(SetBudgetRequest(budget=limit))
    before = len(await mock.journal())
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(
                    model=MODELS[0], messages=[{"role": "user", "content": "hello"}], stream=stream
                )
            assert "cap" in refused.value.message
            with pytest.raises(anthropic.RateLimitError):
                await other.messages.create(
                    model=MODELS[0], max_tokens=9, messages=[{"role": "user", "content": "hello"}], stream=stream
                )
    assert len(await mock.journal()) == before, "somebody was called"


async def test_headers_name_policy_and_chain(ends: tuple[Calling, Mock]) -> None:
    """A policy decides what "auto" is; what nobody set is not found, and what cannot be a name is refused by its header."""
    calling, _ = ends
    policy = SelectionPolicy(policy_id="only-ours", constraints=Constraints(allowed=["anthropic"]))
    await SelectionServiceStub(calling.service.channel).SetSelectionPolicy(SetSelectionPolicyRequest(policy=policy))
    hello: Any = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    async with openai_client(calling) as client:
        answer = await client.chat.completions.with_raw_response.create(**hello, extra_headers={"x-tooloo-policy": "only-ours"})
        assert answer.headers["x-tooloo-provider"] == "anthropic"
        for header in ("x-tooloo-policy", "x-tooloo-fallback-chain"):
            with pytest.raises(openai.NotFoundError, match="nobody-set-it"):
                await client.chat.completions.create(**hello, extra_headers={header: "nobody-set-it"})
            with pytest.raises(openai.BadRequestError, match=header):
                await client.chat.completions.create(**hello, extra_headers={header: "No Name"})
