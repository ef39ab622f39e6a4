"""Requests that few send and answers that few give, at the compatible doors: official clients, real Envoy, our own far end."""

import json
from typing import Any

import anthropic
import httpx
import openai
import pytest
from tooloo.provider.v1.availability_service_pb2 import SetFallbackChainRequest
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.health_pb2 import FallbackChain, FallbackTarget

from tests.integration.calling_bench import Calling
from tests.integration.completing_bench import DONE, FarEnd, Reply, body_of, chunk, event, fails, says, sends, usage_alone
from tests.integration.test_provider_doors import anthropic_client, openai_client

GPT, CLAUDE = "openai/gpt-5-mini", "anthropic/claude-haiku-4-5"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
THOUGHTS_ONLY = {
    GPT: (chunk(finish="length"), usage_alone((11, 500)), DONE),
    CLAUDE: (
        event({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 11, "output_tokens": 1}}}),
        event({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 500}}),
        event({"type": "message_stop"}),
    ),
}


def answers(status: int, body: object) -> Reply:
    """A whole body of JSON, whatever was asked."""
    return lambda far: far.answer(status, json.dumps(body).encode())


def whole(text: str, **fields: Any) -> dict[str, Any]:
    """An answer in OpenAI's dialect."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], **fields}


async def test_a_stream_without_a_word(far: FarEnd, calling: Calling) -> None:
    """All of the limit went into thoughts that are not shown: both clients learn why it ended and what it cost."""
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        for model, told in THOUGHTS_ONLY.items():
            far.script[model.split("/")[1]] = [sends(*told), sends(*told)]
            stream = await client.chat.completions.create(
                model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == ["length"], model
            assert chunks[-1].usage is not None
            assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (11, 500)
            async with other.messages.stream(model=model, max_tokens=500, messages=HELLO) as events:
                message = await events.get_final_message()
            assert (message.stop_reason, message.content) == ("max_tokens", [])
            assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 500)


async def test_usage_that_nobody_told_is_the_one_that_is_charged(far: FarEnd, calling: Calling) -> None:
    """Not 0: whoever counts with a client's usage counts what the budgets count."""
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        far.script["gpt-5-mini"] = [says(usage=None)] * 4
        answer = await client.chat.completions.create(model=GPT, messages=HELLO)
        stream = await client.chat.completions.create(
            model=GPT, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        last = [chunk async for chunk in stream][-1]
        message = await other.messages.create(model=GPT, max_tokens=99, messages=HELLO)
        async with other.messages.stream(model=GPT, max_tokens=99, messages=HELLO) as events:
            streamed = await events.get_final_message()
    assert answer.usage is not None
    assert last.usage is not None
    # 5 characters and a message; 18 characters
    assert {(usage.prompt_tokens, usage.completion_tokens) for usage in (answer.usage, last.usage)} == {(6, 6)}
    assert {(each.usage.input_tokens, each.usage.output_tokens) for each in (message, streamed)} == {(6, 6)}


async def test_the_first_event_of_a_message_has_the_input(far: FarEnd, calling: Calling) -> None:
    """As Anthropic's own has: older clients read the input's tokens nowhere else."""
    start, change, stop = THOUGHTS_ONLY[CLAUDE]
    begin = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    words = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}})
    far.script["claude-haiku-4-5"] = [sends(start, begin, words, change, stop)]
    async with anthropic_client(calling) as client:
        stream = await client.messages.create(model=CLAUDE, max_tokens=99, messages=HELLO, stream=True)
        first, *_ = [each async for each in stream]
    assert first.type == "message_start"
    assert first.message.usage.input_tokens == 11


async def test_half_of_a_pair_in_a_request(far: FarEnd, calling: Calling) -> None:
    """Refused as both vendors refuse it, wherever it stands; so is what only Python takes for JSON. A whole pair is a character."""
    async with httpx.AsyncClient(base_url=calling.url, timeout=60) as client:
        for path in ("/v1/chat/completions", "/v1/messages"):
            for text in ("\\ud83d", "\\ude00\\ud83d", "a\\uD83Db"):
                for model, user, words in ((GPT, "u", text), (GPT, text, "x"), (text, "u", "x")):
                    body = (
                        f'{{"model":"{model}","max_tokens":9,"user":"{user}","messages":[{{"role":"user","content":"{words}"}}]}}'
                    )
                    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
                    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body
            for value in ("NaN", "Infinity", "-Infinity"):
                body = (
                    f'{{"model":"{GPT}","max_tokens":9,"logit_bias":{{"5":{value}}},"messages":[{{"role":"user","content":"x"}}]}}'
                )
                answer = await client.post(path, content=body, headers={"content-type": "application/json"})
                assert answer.status_code == 400, value
        assert far.asked == []
        body = f'{{"model":"{GPT}","messages":[{{"role":"user","content":"\\ud83d\\ude00"}}]}}'
        answer = await client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert body_of(far.asked[0])["messages"][0]["content"] == "\U0001f600"


async def test_half_of_a_pair_in_an_answer(far: FarEnd, calling: Calling) -> None:
    """What is paid for arrives: a character that cannot be read where it stands alone, an emoji where it was cut in two."""
    broken = f'{{"a": "{chr(92)}ud83d"}}'
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": broken}}
    message = {"role": "assistant", "content": "a\ud83d", "tool_calls": [call]}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    far.script["gpt-5-mini"] = [answers(200, body), answers(200, body), sends(chunk("a\ud83d"), chunk("\ude00b"), DONE)]
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        answer = await client.chat.completions.create(model=GPT, messages=HELLO, extra_headers={"idempotency-key": "k"})
        again = await client.chat.completions.create(model=GPT, messages=HELLO, extra_headers={"idempotency-key": "k"})
        assert answer.choices[0].message.content == again.choices[0].message.content == "a\ufffd"
        theirs = await other.messages.create(model=GPT, max_tokens=9, messages=HELLO)
        assert [block.input for block in theirs.content if block.type == "tool_use"] == [{"a": "\ufffd"}]
        stream = await client.chat.completions.create(model=GPT, messages=HELLO, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "a\U0001f600b"


async def test_json_in_place_of_a_stream(far: FarEnd, calling: Calling) -> None:
    """An error with status 200 is that error, and the answer of one who does not stream is the answer."""
    limited = {"error": {"message": "slow down", "code": 429}}
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}
    far.script["gpt-5-mini"] = [answers(200, whole("all at once", usage={"prompt_tokens": 3, "completion_tokens": 4}))]
    far.script["claude-haiku-4-5"] = [answers(200, refused)]
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        stream = await client.chat.completions.create(model=GPT, messages=HELLO, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "all at once"
        with pytest.raises(anthropic.BadRequestError, match="no such thing"):
            await other.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO, stream=True)
        far.script["gpt-5-mini"] = [answers(200, limited)] * 8
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await client.chat.completions.create(model=GPT, messages=HELLO, stream=True)


async def test_what_one_dialect_cannot_say_is_said_in_another(far: FarEnd, calling: Calling) -> None:
    """The chain goes on past those who cannot take it; when all fail, what a provider said is told, and by itself it is refused."""
    targets = [FallbackTarget(provider_id=provider, model=model) for provider, model in (CLAUDE.split("/"), GPT.split("/"))]
    chain = FallbackChain(chain_id="c", general=targets)
    await AvailabilityServiceStub(calling.service.channel).SetFallbackChain(SetFallbackChainRequest(chain=chain))
    bias: Any = {"logit_bias": {"5": 1}}
    async with openai_client(calling) as client:
        named: Any = {"extra_headers": {"x-tooloo-fallback-chain": "c"}, **bias}
        answer = await client.chat.completions.create(model="ollama/llama3.2:3b", messages=HELLO, **named)
        assert answer.choices[0].message.content == "Hello there friend"
        assert far.models == ["gpt-5-mini"]
        for stream in (False, True):
            far.script["gpt-5-mini"] = [fails(400)]
            with pytest.raises(openai.BadRequestError, match="status 400"):
                await client.chat.completions.create(model="ollama/llama3.2:3b", messages=HELLO, stream=stream, **named)
        with pytest.raises(openai.BadRequestError, match="logit_bias: only providers that speak the openai dialect"):
            await client.chat.completions.create(model=CLAUDE, messages=HELLO, **bias)


async def test_labels_in_two_lines(calling: Calling) -> None:
    """Both count: a proxy that adds a line of its own takes no spending from anybody's budget."""
    lines = [("x-tooloo-labels", "team=a"), ("x-tooloo-labels", "project=b")]
    async with httpx.AsyncClient(base_url=calling.url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json={"model": GPT, "messages": HELLO}, headers=lines)
    assert answer.status_code == 200
    [row] = await calling.service.host.db.read(lambda tx: tx.fetch_all("SELECT labels FROM reservation"))
    assert {"team": "a", "project": "b"}.items() <= json.loads(row["labels"]).items()


async def test_nothing_of_a_request_is_dropped(far: FarEnd, calling: Calling) -> None:
    """Who speaks, what a schema is about, and the picture that a tool gave."""
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    shown = [{"type": "text", "text": "seen"}, {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
    messages: list[Any] = [
        {"role": "user", "name": "ada", "content": "look"},
        {"role": "assistant", "name": "eve", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": shown},
    ]
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "description": "What was seen.", "schema": schema}}
    async with openai_client(calling) as client:
        await client.chat.completions.create(model=GPT, messages=messages, response_format=form)
        messages[2]["content"] = [{"type": "file", "file": {"file_id": "f"}}]
        with pytest.raises(openai.BadRequestError, match="may hold text and images"):
            await client.chat.completions.create(model=GPT, messages=messages)
    sent = body_of(far.asked[0])
    assert [message.get("name") for message in sent["messages"]] == ["ada", "eve", None, None]
    assert sent["messages"][3]["content"] == [shown[1]]
    assert sent["response_format"]["json_schema"]["schema"] == {"description": "What was seen.", **schema}


async def test_a_refusal_of_what_no_store_holds(far: FarEnd, calling: Calling) -> None:
    """A count of tokens beyond all bounds: the answer arrives, is charged, and nothing stays set aside."""
    far.script["gpt-5-mini"] = [answers(200, whole("x", usage={"prompt_tokens": 10**30, "completion_tokens": 2**63}))]
    async with openai_client(calling) as client:
        answer = await client.chat.completions.create(model=GPT, messages=HELLO)
    assert answer.choices[0].message.content == "x"
    rows = await calling.service.host.db.read(lambda tx: tx.fetch_all("SELECT state, cost_nanos FROM reservation"))
    assert [(row["state"], row["cost_nanos"] > 0) for row in rows] == [(2, True)]


async def test_what_clients_add_to_a_path(calling: Calling) -> None:
    """`?beta=true` of Anthropic's beta calls, and whatever else, as both vendors take it; our own API still refuses a typo."""
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        await client.chat.completions.create(model=GPT, messages=HELLO, extra_query={"api-version": "x"})
        message = await other.messages.create(model=GPT, max_tokens=9, messages=HELLO, extra_query={"beta": "true"})
        assert message.content
        streamed = await client.chat.completions.create(model=GPT, messages=HELLO, stream=True, extra_query={"a": "b"})
        assert [chunk async for chunk in streamed]
        assert (await other.messages.count_tokens(model=GPT, messages=HELLO, extra_query={"beta": "true"})).input_tokens
        assert len([model async for model in other.models.list(before_id="x", limit=100)]) > 3
    async with httpx.AsyncClient(base_url=calling.url, timeout=60) as rest:
        assert (await rest.get("/api/v1/budgets?pagesize=5")).status_code == 400


async def test_a_model_by_the_id_that_the_list_shows(calling: Calling) -> None:
    """Provider and model, with the slash as the official clients write it, or as it is, or with more of them."""
    async with openai_client(calling) as client, anthropic_client(calling) as other:
        ids = [model.id async for model in client.models.list()]
        assert GPT in ids
        for model_id in ids:
            assert (await client.models.retrieve(model_id)).id == model_id
            assert (await other.models.retrieve(model_id)).id == model_id
        with pytest.raises(openai.NotFoundError, match="no model 'openrouter/meta/llama'"):
            await client.models.retrieve("openrouter/meta/llama")
    async with httpx.AsyncClient(base_url=calling.url, timeout=60) as rest:
        assert (await rest.get(f"/v1/models/{GPT}")).json()["id"] == GPT
        assert (await rest.get(f"/v1/models/{GPT}?beta=true")).json()["id"] == GPT


async def test_a_model_whose_name_has_slashes_is_deleted(calling: Calling) -> None:
    """Over REST, with its slashes as they are or encoded; one that is not there is named."""
    named = ("meta/llama-4", "meta/llama/scout", "plain")
    async with httpx.AsyncClient(base_url=calling.url, follow_redirects=True, timeout=60) as rest:
        for model in named:
            given = {"providerId": "openai", "model": model, "quality": 0.5, "tokensPerSecond": 9, "contextWindow": 4096}
            assert (await rest.post("/api/v1/models/register", json={"model": given})).status_code == 200
        for model, path in zip(named, ("meta/llama-4", "meta%2Fllama%2Fscout", "plain"), strict=True):
            done = await rest.delete(f"/api/v1/models/openai/{path}")
            assert done.status_code == 200, done.text
            gone = await rest.delete(f"/api/v1/models/openai/{path}")
            assert (gone.status_code, model in gone.text) == (404, True)


async def test_what_is_in_beta_is_allowed_where_it_goes(far: FarEnd, calling: Calling) -> None:
    """The header that Anthropic asks for goes along with the field that it allows, and to nobody who knows neither."""
    edits: Any = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    betas = ["context-management-2025-06-27", "interleaved-thinking-2025-05-14"]
    far.script["claude-haiku-4-5"] = [sends(*THOUGHTS_ONLY[CLAUDE])]
    async with anthropic_client(calling) as client:
        wish: Any = {"max_tokens": 9, "messages": HELLO, "betas": betas}
        async with client.beta.messages.stream(model=CLAUDE, context_management=edits, **wish) as stream:
            await stream.get_final_message()
        await client.beta.messages.create(model=GPT, **wish)
        with pytest.raises(anthropic.BadRequestError, match="anthropic-beta"):
            await client.messages.create(model=GPT, max_tokens=9, messages=HELLO, extra_headers={"anthropic-beta": "a;b"})
    claude, gpt = far.asked
    assert f"anthropic-beta: {','.join(betas)}\r\n" in claude.head
    assert body_of(claude)["context_management"] == edits
    assert "anthropic-beta" not in f"{gpt.head}{gpt.body!r}{claude.body!r}"
