"""POST /v1/responses as OpenAI's official client meets it: the real package, real Envoy, aimock as provider."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseInputParam
from pydantic import BaseModel
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub

from tests.integration.calling_bench import MODELS, Calling, door_to_aimock
from tests.peers.aimock import Mock

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[tuple[Calling, Mock]]:
    """The door and the far end."""
    async with door_to_aimock(tmp_path) as both:
        yield both


def client_of(calling: Calling) -> openai.AsyncOpenAI:
    """The official client with its base URL changed and nothing else."""
    return openai.AsyncOpenAI(base_url=f"{calling.url}/v1", api_key="caller-key", max_retries=0, timeout=60)


async def test_every_provider_gives_a_response(ends: tuple[Calling, Mock]) -> None:
    """Whole, streamed, and through the package's accumulating helper: the same words from each dialect behind the door."""
    async with client_of(ends[0]) as client:
        for model in MODELS:
            whole = await client.responses.create(model=model, input="hello")
            assert whole.output_text == "Hello! How can I help you today?", model
            assert whole.status == "completed"
            events = [event async for event in await client.responses.create(model=model, input="hello", stream=True)]
            assert [event.sequence_number for event in events] == list(range(len(events)))
            assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
            async with client.responses.stream(model=model, input="hello") as stream:
                final = await stream.get_final_response()
            assert final.output_text == whole.output_text, model
            assert final.usage is not None
            assert final.usage.total_tokens == final.usage.input_tokens + final.usage.output_tokens > 0


async def test_a_response_is_a_query_like_any_other(ends: tuple[Calling, Mock]) -> None:
    """Usage is what the provider told, the headers say who answered, and the query is in the books."""
    calling, _ = ends
    async with client_of(calling) as client:
        raw = await client.responses.with_raw_response.create(model=MODELS[0], input="hello", user="ada")
    assert raw.headers["x-tooloo-model"] == "gpt-5-mini"
    usage = raw.parse().usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (11, 7)
    stub = CompletionServiceStub(calling.service.channel)
    query = await stub.GetQuery(api.GetQueryRequest(query_id=raw.headers["x-tooloo-query-id"]))
    assert query.state == api.GetQueryResponse.STATE_COMPLETED
    assert query.account.usage.output_tokens == 7


@pytest.mark.parametrize("model", MODELS)
async def test_a_tool_is_called_and_its_result_sent_back(ends: tuple[Calling, Mock], model: str) -> None:
    """The loop of the vendor's guide: what was answered goes into the next input, and the provider gets call and result."""
    calling, mock = ends
    async with client_of(calling) as client:
        asked: ResponseInputParam = [{"role": "user", "content": "weather"}]
        async with client.responses.stream(model=model, input=asked, tools=[WEATHER]) as stream:
            first = await stream.get_final_response()
        [call] = first.output
        assert call.type == "function_call"
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
        asked += [item.to_dict() for item in first.output]  # type: ignore[misc] # as the guide has it
        asked += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
        asked += [{"role": "user", "content": "hello"}]
        second = await client.responses.create(model=model, input=asked, tools=[WEATHER])
    assert second.output_text.startswith("Hello!")
    assert "sunny" in json.dumps((await mock.journal())[-1]["body"])


async def test_an_answer_is_parsed_by_its_schema(ends: tuple[Calling, Mock]) -> None:
    """`text_format` of the package goes to the provider as a schema."""

    class City(BaseModel):
        """Where."""

        city: str

    calling, mock = ends
    async with client_of(calling) as client:
        with pytest.raises(ValueError, match="JSON"):
            await client.responses.parse(model=MODELS[0], input="hello", text_format=City)
    sent = (await mock.journal())[-1]["body"]["response_format"]
    assert (sent["type"], sent["json_schema"]["name"]) == ("json_schema", "City")


async def test_refusals_are_the_packages_own_exceptions(ends: tuple[Calling, Mock]) -> None:
    """What is not kept, and a model that is not known, each with its name."""
    async with client_of(ends[0]) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model=MODELS[0], input="hello", previous_response_id="resp_1")
        assert caught.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="nobody/nothing", input="hello")
