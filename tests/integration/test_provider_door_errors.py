"""What goes wrong behind the compatible doors is the right exception of the official clients; a caller who leaves is noticed."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anthropic
import grpc
import httpx
import openai
import pytest
from tooloo.provider.v1 import chat_pb2
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import registry_service_pb2 as registry
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub

from envoy.settings import DoorSettings
from tests.integration.calling_bench import KEY, MODELS, Calling, door_before, door_to_aimock
from tests.integration.remote_bench import STOP, WORD, Far, Server, far_end
from tests.integration.test_provider_doors import anthropic_client, openai_client
from tests.support import straight

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
# aimock waits for nothing and breaks what the flag says, every time
CHAOS = {
    "--chaos-ratelimit": (openai.RateLimitError, anthropic.RateLimitError),
    "--chaos-drop": (openai.InternalServerError, anthropic.InternalServerError),
    "--chaos-malformed": (openai.InternalServerError, anthropic.InternalServerError),
    "--chaos-disconnect": (openai.InternalServerError, anthropic.InternalServerError),
}


@pytest.mark.parametrize("flag", CHAOS)
async def test_chaos_at_the_provider_is_the_right_exception(tmp_path: Path, flag: str) -> None:
    """Every dialect, whole and streamed, for both clients: rate limits as 429 with Retry-After, the rest as 5xx; none hangs."""
    ours, theirs = CHAOS[flag]
    async with (
        door_to_aimock(tmp_path, flag, "1", build=straight.build) as (calling, _),
        openai_client(calling) as client,
        anthropic_client(calling) as other,
    ):
        for model, stream in itertools.product(MODELS, (False, True)):
            with pytest.raises(ours) as caught:
                await client.chat.completions.create(model=model, messages=HELLO, stream=stream)
            if flag == "--chaos-ratelimit":
                assert int(caught.value.response.headers["retry-after"]) >= 1
            with pytest.raises(theirs):
                await other.messages.create(model=model, max_tokens=9, messages=HELLO, stream=stream)


ERRORS = [
    (400, {"message": "Invalid value", "code": "invalid_value"}, openai.BadRequestError, anthropic.BadRequestError),
    (400, {"message": "x", "code": "context_length_exceeded"}, openai.BadRequestError, anthropic.BadRequestError),
    (401, {"message": "Incorrect API key provided"}, openai.AuthenticationError, anthropic.AuthenticationError),
    (404, {"message": "no such model", "code": "model_not_found"}, openai.NotFoundError, anthropic.NotFoundError),
    (429, {"message": "slow down"}, openai.RateLimitError, anthropic.RateLimitError),
    (429, {"message": "x", "code": "insufficient_quota"}, openai.RateLimitError, anthropic.RateLimitError),
    (500, {"message": "oh"}, openai.InternalServerError, anthropic.InternalServerError),
    (529, {"message": "overloaded"}, openai.InternalServerError, anthropic.InternalServerError),
]


@pytest.fixture
async def refusing(tmp_path: Path) -> AsyncIterator[tuple[Calling, Server]]:
    """A provider that refuses with the status and error that the question asks for."""

    async def handler(far: Far) -> None:
        asked = json.loads(json.loads(far.body)["messages"][-1]["content"])
        await far.answer(asked[0], json.dumps({"error": asked[1]}).encode(), "Retry-After: 7")

    async with far_end(handler) as server, door_before(server.url, tmp_path, straight.build) as calling:
        yield calling, server


async def test_a_providers_refusal_is_the_right_exception(refusing: tuple[Calling, Server]) -> None:
    """By status and by code, with the words of the provider."""
    calling, _ = refusing
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        for status, error, ours, theirs in ERRORS:
            asked: list[Any] = [{"role": "user", "content": json.dumps([status, error])}]
            with pytest.raises(ours) as caught:
                await client.chat.completions.create(model=MODELS[0], messages=asked)
            assert error["message"] in caught.value.message
            if status == 429:
                assert caught.value.response.headers["retry-after"] == "7"
            if "code" in error and status != 404:
                assert caught.value.code in (error["code"], "invalid_request")
            with pytest.raises(theirs):
                await other.messages.create(model=MODELS[0], max_tokens=9, messages=asked)


async def test_what_cannot_be_honoured_is_refused_by_name(refusing: tuple[Calling, Server]) -> None:
    """Nothing is dropped in silence: the exception names the field, and the provider was not called."""
    calling, server = refusing
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"n": 2}, "n"),
            ({"logprobs": True}, "logprobs"),
            ({"temperature": 9}, "temperature"),
            ({"extra_body": {"functions": []}}, "functions"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "critic", "content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
             "messages[0].content[0].image_url.url"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ]  # fmt: skip
        for change, field in cases:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(**{"model": MODELS[0], "messages": HELLO, **change})
            assert caught.value.param == field
        with pytest.raises(openai.BadRequestError, match="logit_bias"):
            await client.chat.completions.create(model=MODELS[1], messages=HELLO, logit_bias={"1": 5})
        with pytest.raises(anthropic.BadRequestError, match="tools"):
            await other.messages.create(
                model=MODELS[1], max_tokens=9, messages=HELLO, tools=[{"type": "web_search_20250305", "name": "web_search"}]
            )
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert server.seen == []


async def test_bodies_that_are_none(refusing: tuple[Calling, Server]) -> None:
    """Bytes that are no JSON, or JSON that is no object: 400 in the door's own dialect."""
    async with httpx.AsyncClient(base_url=refusing[0].url, timeout=60) as client:
        for body in (b"", b"{", b"[]", b"\xff", b"5", b'{"model": 5}', b"[" * 100_000):
            answer = await client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400, body
            assert answer.json()["error"]["type"] == "invalid_request_error"
            answer = await client.post("/v1/messages", content=body)
            assert (answer.status_code, answer.json()["type"]) == (400, "error")
        bad = await client.post(
            "/v1/chat/completions", json={"model": "local/echo", "messages": HELLO}, headers={"x-tooloo-labels": "Team=1"}
        )
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "x-tooloo-labels")


async def test_a_stream_that_breaks_in_the_middle_is_an_exception(tmp_path: Path) -> None:
    """What came is given, and then the clients raise; [DONE] is not said."""

    async def handler(far: Far) -> None:
        await far.begin()
        await far.chunk(WORD)
        await asyncio.sleep(0.1)
        await far.chunk(b"")

    async with (
        far_end(handler) as server,
        door_before(server.url, tmp_path, straight.build) as calling,
        openai_client(calling) as client,
        anthropic_client(calling) as other,
    ):
        words: list[str] = []

        async def listen() -> None:
            async for chunk in await client.chat.completions.create(model=MODELS[0], messages=HELLO, stream=True):
                words.append(chunk.choices[0].delta.content or "")

        async def listen_to_other() -> None:
            async with other.messages.stream(model=MODELS[0], max_tokens=9, messages=HELLO) as stream:
                await stream.get_final_message()

        with pytest.raises(openai.APIError, match="before its end"):
            await listen()
        assert "".join(words) == "hi"
        with pytest.raises(anthropic.APIStatusError, match="before its end"):
            await listen_to_other()
        async with client.responses.stream(model=MODELS[0], input="hello") as events:
            with pytest.raises(openai.APIError, match="before its end"):
                await events.get_final_response()


@asynccontextmanager
async def endless(folder: Path) -> AsyncIterator[tuple[Calling, Server]]:
    """A provider that never stops talking."""

    async def handler(far: Far) -> None:
        await far.begin()
        while True:
            await far.chunk(WORD)
            await asyncio.sleep(0.02)

    async with far_end(handler) as server, door_before(server.url, folder, straight.build) as calling:
        yield calling, server


async def test_a_caller_who_hangs_up_ends_the_call_at_the_provider(tmp_path: Path) -> None:
    """Through Envoy and gRPC to the provider's socket: nobody pays for words that nobody hears."""
    async with endless(tmp_path) as (calling, server), openai_client(calling) as client:
        for _ in range(3):
            server.gone.clear()
            stream = await client.chat.completions.create(model=MODELS[0], messages=HELLO, stream=True)
            async for chunk in stream:
                assert chunk.choices[0].delta.content == "hi"
                break
            await stream.close()
            async with asyncio.timeout(60):
                await server.gone.wait()


async def test_the_key_stands_nowhere_but_in_the_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Added over gRPC, used, shown by its end alone; no log, error, list or database file holds it."""
    caplog.set_level(0)

    async def handler(far: Far) -> None:
        words = json.dumps({"error": {"message": f"the key {KEY} is bad"}}).encode()
        if far.number == 1:
            await far.begin()
            await far.chunk(WORD + STOP + b"data: [DONE]\n\n")
            await far.chunk(b"")
        else:
            await far.answer(401, words)

    async with far_end(handler) as server, door_before(server.url, tmp_path, straight.build) as calling:
        stub: Any = RegistryServiceStub(calling.service.channel)
        added = await stub.AddProviderKey(registry.AddProviderKeyRequest(provider_id="openai", secret=KEY, display_name="first"))
        listed = await stub.ListProviderKeys(registry.ListProviderKeysRequest())
        assert [key.hint for key in listed.keys] == [KEY[-4:]] == [added.key.hint]
        async with openai_client(calling) as client:
            stream = await client.chat.completions.create(model=MODELS[0], messages=HELLO, stream=True)
            assert [chunk async for chunk in stream]
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.chat.completions.create(model=MODELS[0], messages=HELLO)
        assert f"authorization: Bearer {KEY}" in server.seen[0].head
        assert "caller-key" not in server.seen[0].head
        shown = f"{added} {listed} {caught.value} {caught.value.body}"
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(re.fullmatch(r"provider\.db.*", name) for name in files)
    assert KEY not in shown + caplog.text
    assert not [name for name, content in files.items() if KEY.encode() in content]
    assert not [name for name, content in files.items() if b"caller-key" in content]


async def test_an_answer_may_take_longer_than_other_calls(tmp_path: Path) -> None:
    """A request that has a `timeout` is ended by it, and not by the door's deadline for calls that bring none."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}

    async def slowly(far: Far) -> None:
        await asyncio.sleep(1.5)
        await far.answer(200, json.dumps({"model": "m", "choices": [choice]}).encode())

    limits = DoorSettings(call_timeout=timedelta(seconds=1), stream_idle_timeout=timedelta(seconds=1))
    asked: dict[str, Any] = {"messages": [{"text": "hello"}], "model": "openai/gpt-5-mini"}
    async with (
        far_end(slowly) as server,
        door_before(server.url, tmp_path, settings=limits) as calling,
        httpx.AsyncClient(base_url=calling.url, timeout=30) as rest,
        grpc.aio.insecure_channel(calling.url.removeprefix("http://")) as channel,
    ):
        answer = await rest.post("/api/v1/completions/create", json=asked)
        assert (answer.status_code, answer.json()["message"]["text"]) == (200, "Hi"), answer.text
        message = chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="hello")
        native = await CompletionServiceStub(channel).Complete(api.CompleteRequest(messages=[message], model=asked["model"]))
        assert native.message.text == "Hi"
        hasty = await rest.post("/api/v1/completions/create", json={**asked, "timeout": "0.5s"})
        assert hasty.json()["details"][0]["reason"] == "PROVIDER_FAILED"
        shorter = await rest.post("/api/v1/completions/create", json=asked, headers={"grpc-timeout": "500m"})
        assert shorter.status_code in (503, 504)
