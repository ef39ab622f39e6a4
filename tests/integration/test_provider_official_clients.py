"""What users of the official clients do at the compatible doors and no other test looks at: real packages, real Envoy."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel
from tooloo.provider.v1 import chat_pb2
from tooloo.provider.v1.completion_service_pb2 import CompleteRequest, StreamCompleteRequest
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub

from envoy.routes import CALLERS_HEADERS
from tests.integration.calling_bench import Calling, door_before
from tests.integration.completing_bench import DONE, FarEnd, begins, body_of, chunk, event, sends, usage_alone
from tests.integration.remote_bench import far_end
from tests.integration.test_provider_doors import anthropic_client, openai_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1024 * 1024
# of a request with pictures, so that a test of it need not move 32
LIMIT = 6 * MIB
GPT, CLAUDE, GEMINI = "openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "google/gemini-2.5-flash"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CLAUDE_SAYS = (
    event({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 11, "output_tokens": 1}}}),
    event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}}),
    event({"type": "content_block_stop", "index": 0}),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
    event({"type": "message_stop"}),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[FarEnd, Calling]]:
    """The far end of all providers and the door before it, once for all tests."""
    found = FarEnd()
    async with far_end(found.answer) as server:
        found.url = server.url
        folder, room = tmp_path_factory.mktemp("clients"), str(8 * MIB)
        async with door_before(server.url, folder, large_bytes=LIMIT, large_requests_bytes=room) as running:
            yield found, running


@pytest.fixture
def far(world: tuple[FarEnd, Calling]) -> FarEnd:
    """The far end, which was asked nothing yet."""
    world[0].asked.clear()
    world[0].script.clear()
    return world[0]


@pytest.fixture
def calling(world: tuple[FarEnd, Calling]) -> Calling:
    """The door."""
    return world[1]


class City(BaseModel):
    """A structured answer."""

    name: str


def call(index: int, arguments: str, **begin: str) -> bytes:
    """A piece of a call in OpenAI's dialect."""
    name = begin.pop("name", "")
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk(tool_calls=[{"index": index, "function": function, **begin}])


async def test_calls_that_come_by_turns(far: FarEnd, calling: Calling) -> None:
    """Two calls whose pieces alternate arrive whole at both clients, and no block of Anthropic's goes on after its end."""
    begins = [call(number, "", id=f"call_{number}", type="function", name=f"tool_{number}") for number in (0, 1)]
    pieces = [call(0, '{"a"'), call(1, '{"b"'), call(0, ": 1}"), call(1, ": 2}")]
    far.script["gpt-5-mini"] = [sends(*begins, *pieces, chunk(finish="tool_calls"), usage_alone((11, 7)), DONE)] * 2
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        async with other.messages.stream(model=GPT, max_tokens=99, messages=HELLO) as events:
            ended: list[int] = []
            async for each in events:
                if each.type == "content_block_stop":
                    ended.append(each.index)
                elif each.type == "content_block_delta":
                    assert each.index not in ended
            message = await events.get_final_message()
        assert [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"] == [
            ("call_0", "tool_0", {"a": 1}),
            ("call_1", "tool_1", {"b": 2}),
        ]
        async with client.chat.completions.stream(model=GPT, messages=HELLO) as stream:
            calls = (await stream.get_final_completion()).choices[0].message.tool_calls
        assert [json.loads(each.function.arguments) for each in calls or () if each.type == "function"] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_does_not_go_along_is_told(far: FarEnd, calling: Calling, streamed: bool) -> None:
    """A seed has no place at Claude, and nobody knows `note`: a header says so; nothing is said where all went along."""
    noted: list[Any] = [{"role": "user", "content": "hello", "note": "x"}]
    far.script["claude-haiku-4-5"] = [sends(*CLAUDE_SAYS)]
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        ask = client.chat.completions.with_raw_response.create
        plain = await ask(model=GPT, messages=HELLO, seed=7, stream=streamed)
        assert "x-tooloo-dropped" not in plain.headers
        if streamed:
            answer = await ask(model=CLAUDE, messages=noted, seed=7, stream=True)
            assert answer.headers["x-tooloo-dropped"] == "seed, messages.note"
        with pytest.raises(openai.BadRequestError, match="parallel_tool_calls: the gemini dialect cannot"):
            await ask(model=GEMINI, messages=HELLO, tools=[TOOL], parallel_tool_calls=False, stream=streamed)  # type: ignore[list-item]
        theirs = await other.messages.with_raw_response.create(model=GPT, max_tokens=9, messages=noted, stream=streamed)
        assert theirs.headers["x-tooloo-dropped"] == "messages.note"
    assert "note" not in str(body_of(far.asked[-1]))


async def test_native_callers_are_told_too(far: FarEnd, calling: Calling) -> None:
    """In the metadata of the call, whole or streamed."""
    message = chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="hello")
    fields: Any = {"messages": [message], "model": CLAUDE, "generation": chat_pb2.GenerationConfig(seed=7)}
    far.script["claude-haiku-4-5"] = [sends(*CLAUDE_SAYS)]
    stub = CompletionServiceStub(calling.service.channel)
    stream = stub.StreamComplete(StreamCompleteRequest(**fields))
    assert dict(await stream.initial_metadata())["x-tooloo-dropped"] == "seed"
    stream.cancel()
    whole = stub.Complete(CompleteRequest(**{**fields, "model": GPT}))
    assert "x-tooloo-dropped" not in dict(await whole.initial_metadata())
    await whole


def picture(size: int) -> tuple[list[Any], list[Any]]:
    """A message with a picture of so many bytes in base64, as each client sends it."""
    data = "A" * size
    theirs = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    ours = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [{"role": "user", "content": [ours]}], [{"role": "user", "content": [theirs]}]


async def test_a_large_picture_arrives(far: FarEnd, calling: Calling) -> None:
    """From both clients, over REST and natively: larger than any other request may be."""
    ours, theirs = picture(5 * MIB)
    image = chat_pb2.ChatPart(image=chat_pb2.ImagePart(media_type="image/png", data=b"A" * (5 * MIB)))
    native = chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, parts=[image])
    async with openai_client(calling) as client, anthropic_client(calling) as other, httpx.AsyncClient(timeout=60) as rest:
        await client.chat.completions.create(model=GPT, messages=ours)
        await other.messages.create(model=GPT, max_tokens=9, messages=theirs)
        part = {"image": {"mediaType": "image/png", "data": "A" * (5 * MIB)}}
        answer = await rest.post(f"{calling.url}/api/v1/completions/create", json={"messages": [{"parts": [part]}], "model": GPT})
        assert answer.status_code == 200, answer.text
        refused = await rest.post(f"{calling.url}/api/v1/budget/track", json={"model": "A" * (5 * MIB)})
        assert (refused.status_code, "door.max_request_bytes" in refused.text) == (413, True)
    await CompletionServiceStub(calling.service.channel).Complete(CompleteRequest(messages=[native], model=GPT))
    assert [len(asked.body) > 5 * MIB for asked in far.asked] == [True] * 4


async def test_a_request_that_is_too_large(far: FarEnd, calling: Calling) -> None:
    """413 in the words of either vendor, with the limit and the setting's name, also when the length is not told beforehand."""
    ours, theirs = picture(7 * MIB)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(7):
            yield b" " * MIB

    async with openai_client(calling) as client, anthropic_client(calling) as other, httpx.AsyncClient(timeout=60) as rest:
        with pytest.raises(openai.APIStatusError, match=f"more than {LIMIT} bytes; see the setting large_message_bytes") as caught:
            await client.chat.completions.create(model=GPT, messages=ours)
        assert (caught.value.status_code, caught.value.code, caught.value.type) == (413, "too_large", "request_too_large")
        with pytest.raises(anthropic.APIStatusError, match="large_message_bytes") as other_caught:
            await other.messages.create(model=GPT, max_tokens=9, messages=theirs)
        assert other_caught.value.status_code == 413
        assert other_caught.value.body == {
            "type": "error",
            "error": {"type": "request_too_large", "message": str(caught.value.message).partition(" - ")[2], "code": "too_large"},
            "request_id": other_caught.value.response.headers["x-request-id"],
        }
        headers = {"content-type": "application/json"}
        answer = await rest.post(f"{calling.url}/v1/messages", content=pieces(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert far.asked == []


async def test_too_many_large_requests_at_a_time(far: FarEnd, calling: Calling) -> None:
    """The second waits for the first: 429 with Retry-After, which the clients heed; a small one needs no room."""
    hold = asyncio.Event()
    far.script["gpt-5-mini"] = [begins(chunk("Hi"), then=hold, last=(chunk(finish="stop"), DONE))]
    ours, theirs = picture(5 * MIB)
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        first = await client.chat.completions.create(model=GPT, messages=ours, stream=True)
        with pytest.raises(anthropic.RateLimitError, match="large_requests_bytes") as caught:
            await other.messages.create(model=GPT, max_tokens=9, messages=theirs)
        assert caught.value.response.headers["retry-after"] == "1"
        assert "x-should-retry" not in caught.value.response.headers
        await client.chat.completions.create(model=GPT, messages=HELLO)
        hold.set()
        assert [each async for each in first]
        await other.messages.create(model=GPT, max_tokens=9, messages=theirs)


async def test_an_answer_of_the_door_itself(calling: Calling) -> None:
    """What Envoy refuses is in the vendors' words, too; our own API keeps a Status."""
    async with httpx.AsyncClient(base_url=calling.url, timeout=60) as rest:
        theirs = await rest.put("/v1/messages?beta=true", json={})
        assert (theirs.status_code, theirs.json()["error"]["type"]) == (404, "not_found_error")
        ours = await rest.put("/api/v1/completions/create", json={})
        assert (ours.status_code, ours.json()["code"]) == (404, 5)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_long_answer(far: FarEnd, calling: Calling, streamed: bool) -> None:
    """Longer than any other message may be: what was paid for arrives, whole and as one piece of a stream."""
    text = "x" * (5 * MIB)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
    far.script["gpt-5-mini"] = [lambda far: far.answer(200, body)] * 2
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        if streamed:
            async with client.chat.completions.stream(model=GPT, messages=HELLO) as stream:
                assert (await stream.get_final_completion()).choices[0].message.content == text
            async with other.messages.stream(model=GPT, max_tokens=9, messages=HELLO) as events:
                said = await events.get_final_text()
        else:
            answer = await client.chat.completions.create(model=GPT, messages=HELLO)
            assert answer.choices[0].message.content == text
            message = await other.messages.create(model=GPT, max_tokens=9, messages=HELLO)
            said = "".join(block.text for block in message.content if block.type == "text")
    assert said == text


async def test_models_are_listed_backwards(calling: Calling) -> None:
    """With `before_id` Anthropic's client goes back page by page, and comes to an end."""
    async with anthropic_client(calling) as client:
        ids = [model.id async for model in client.models.list()]
        async with asyncio.timeout(60):
            back = [model.id async for model in client.models.list(before_id=ids[-1], limit=1)]
        assert back == ids[-2::-1]
        page = await client.models.list(before_id=ids[-1], limit=2)
        assert ([model.id for model in page.data], page.has_more) == (ids[-3:-1], True)


async def test_a_compressed_body(calling: Calling) -> None:
    """Refused as what it is, not as broken JSON, and in the words of whoever is asked."""
    body = gzip.compress(json.dumps({"model": GPT, "messages": HELLO}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with httpx.AsyncClient(base_url=calling.url, timeout=60) as rest:
        for path in ("/v1/messages", "/api/v1/completions/create"):
            answer = await rest.post(path, content=body, headers=headers)
            told = answer.json()
            assert (answer.status_code, "no content-encoding" in told.get("error", told)["message"]) == (415, True)
        plain = await rest.post("/v1/messages", json={}, headers={"content-encoding": "identity"})
        assert plain.status_code == 400


async def test_headers_that_official_clients_add_may_come_from_a_page(calling: Calling) -> None:
    """A browser asks first whether they may be sent; each client names what it runs on, the languages alike."""
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        sent = {name.lower() for each in (client, other) for name in each.default_headers}
    sent |= {"x-stainless-retry-count", "x-stainless-timeout", "anthropic-dangerous-direct-browser-access"}
    # browsers send these by themselves
    assert {name for name in sent if name not in CALLERS_HEADERS} <= {"accept", "user-agent"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_refuses_in_words(far: FarEnd, calling: Calling, streamed: bool) -> None:
    """What OpenAI keeps apart stays so for its client, whose `parse` raises nothing; for Anthropic's it is the reason to stop."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "refusal": "I cannot."}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
    pieces = sends(chunk(refusal="I "), chunk(refusal="cannot."), chunk(finish="stop"), usage_alone((3, 4)), DONE)
    far.script["gpt-5-mini"] = [pieces if streamed else lambda far: far.answer(200, body)] * 2
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        if streamed:
            async with client.chat.completions.stream(model=GPT, messages=HELLO, response_format=City) as stream:
                answer = (await stream.get_final_completion()).choices[0]
            async with other.messages.stream(model=GPT, max_tokens=9, messages=HELLO) as events:
                theirs: anthropic.types.Message = await events.get_final_message()
        else:
            answer = (await client.chat.completions.parse(model=GPT, messages=HELLO, response_format=City)).choices[0]
            theirs = await other.messages.create(model=GPT, max_tokens=9, messages=HELLO)
    assert (answer.message.refusal, answer.message.content, answer.message.parsed) == ("I cannot.", None, None)
    assert answer.finish_reason == "stop"
    assert ([block.text for block in theirs.content if block.type == "text"], theirs.stop_reason) == (["I cannot."], "refusal")
