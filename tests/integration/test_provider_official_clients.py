"""What users of the official clients do at the compatible doors and no other test looks at: real packages, real Envoy."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tooloo.provider.v1 import chat_pb2
from tooloo.provider.v1.completion_service_pb2 import CompleteRequest, StreamCompleteRequest
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub

from tests.integration.calling_bench import Calling, door_before
from tests.integration.completing_bench import DONE, FarEnd, body_of, chunk, event, sends, usage_alone
from tests.integration.test_provider_doors import anthropic_client, openai_client
from tests.integration.test_provider_remote import far_end

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


@pytest.fixture
async def far() -> AsyncIterator[FarEnd]:
    """The far end of all providers."""
    found = FarEnd()
    async with far_end(found.answer) as server:
        found.url = server.url
        yield found


@pytest.fixture
async def calling(far: FarEnd, tmp_path: Path) -> AsyncIterator[Calling]:
    """The door before it."""
    async with door_before(far.url, tmp_path) as running:
        yield running


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
