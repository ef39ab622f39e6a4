"""A repeat under the same idempotency key gets the first answer to the letter, through both doors, whole and streamed."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.integration.calling_bench import Calling
from tests.integration.completing_bench import FarEnd, Reply, waits
from tests.integration.remote_bench import Far

CLAUDE, GPT = "anthropic/claude-haiku-4-5", "openai/gpt-5-mini"
# what an agent must send back unchanged, words around a call, the sequence that it stopped at
BLOCKS = [
    {"type": "redacted_thinking", "data": "c2VjcmV0"},
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "text", "text": "One."},
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
    {"type": "text", "text": "Two."},
]
MESSAGE = {
    "content": BLOCKS,
    "stop_reason": "stop_sequence",
    "stop_sequence": "END",
    "usage": {"input_tokens": 9, "output_tokens": 7},
}
# what each vendor says when the caller should come again
BUSY = {"messages": 529, "chat/completions": 503}
REFUSAL = {"role": "assistant", "content": None, "refusal": "I cannot do that."}
COMPLETION = {
    "choices": [{"index": 0, "message": REFUSAL, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 7},
}


def answers(body: object) -> Reply:
    """A whole body of JSON, also where a stream was asked for."""
    return lambda far: far.answer(200, json.dumps(body).encode())


@pytest.mark.parametrize(("path", "model", "body"), [("messages", CLAUDE, MESSAGE), ("chat/completions", GPT, COMPLETION)])
async def test_a_repeat_is_the_first_answer(far: FarEnd, calling: Calling, path: str, model: str, body: object) -> None:
    """Sealed thoughts, the order of words and calls, a refusal, why it stopped: nothing is lost, and nobody is asked again."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(base_url=f"{calling.url}/v1/", timeout=30) as client:
        for stream in (False, True):
            far.script[model.split("/")[1]] = [answers(body)]
            headers = {"idempotency-key": f"once-{stream}", "authorization": "Bearer k"}
            first, again = [await client.post(path, json={**asked, "stream": stream}, headers=headers) for _ in range(2)]
            assert first.status_code == again.status_code == 200, first.text
            assert _plain(first.text) == _plain(again.text)
            if not stream and path == "messages":
                assert again.json()["content"] == BLOCKS
    assert len(far.asked) == 2


@pytest.mark.parametrize("path", ["messages", "chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_while_the_first_call_runs(far: FarEnd, calling: Calling, path: str, stream: bool) -> None:
    """It is refused by the name of the query, calls nobody and holds nothing; then it is the first answer."""
    model, body = (CLAUDE, MESSAGE) if path == "messages" else (GPT, COMPLETION)
    go = asyncio.Event()

    async def held(at: Far) -> None:
        await go.wait()
        await answers(body)(at)

    far.script[model.split("/")[1]] = [held]
    asked = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    headers = {"idempotency-key": "held", "authorization": "Bearer k"}
    async with httpx.AsyncClient(base_url=f"{calling.url}/v1/", timeout=60) as client:
        call = asyncio.create_task(client.post(path, json=asked, headers=headers))
        await far.arrived.wait()
        again = await client.post(path, json=asked, headers=headers)
        assert (again.status_code, again.headers["retry-after"]) == (BUSY[path], "1")
        assert "still runs" in again.json()["error"]["message"]
        go.set()
        first = await call
        assert first.status_code == 200, first.text
        again = await client.post(path, json=asked, headers=headers)
        assert _plain(first.text) == _plain(again.text)
    assert len(far.asked) == 1


@pytest.mark.parametrize("path", ["messages", "chat/completions"])
async def test_a_repeat_after_the_first_caller_hung_up(far: FarEnd, calling: Calling, path: str) -> None:
    """It is a call of its own, as soon as the first one has ended."""
    model, body = (CLAUDE, MESSAGE) if path == "messages" else (GPT, COMPLETION)
    far.script[model.split("/")[1]] = [waits, answers(body)]
    asked = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"idempotency-key": "left", "authorization": "Bearer k"}
    async with httpx.AsyncClient(base_url=f"{calling.url}/v1/", timeout=60) as client:
        call = asyncio.create_task(client.post(path, json=asked, headers=headers))
        await far.arrived.wait()
        call.cancel()
        await asyncio.wait([call])
        async with asyncio.timeout(60):
            while (again := await client.post(path, json=asked, headers=headers)).status_code == BUSY[path]:  # noqa: ASYNC110 - a store has no event
                await asyncio.sleep(0.1)
        assert again.status_code == 200, again.text
    assert len(far.asked) == 2


def _plain(text: str) -> list[Any]:
    """The objects of a body or of its events, without the time at which they were made."""
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith(("data: {", "{"))]
    return [{name: value for name, value in json.loads(line).items() if name != "created"} for line in found]
