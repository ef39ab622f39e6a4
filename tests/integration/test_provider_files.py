"""Files in conversations, through the compatible doors: what they cost, and what comes of them to the model and back."""

import base64
import json
from typing import Any

import pytest
from google.type.money_pb2 import Money
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from tests.integration.calling_bench import Calling
from tests.integration.completing_bench import FarEnd, body_of, chunk, event, says, sends
from tests.integration.test_provider_doors import anthropic_client, openai_client

GPT, CLAUDE = "openai/gpt-5-mini", "anthropic/claude-haiku-4-5"
# some forty pages
PDF = "data:application/pdf;base64," + base64.b64encode(bytes(range(256)) * 12_000).decode()
PAGES: list[Any] = [{"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]}]


async def test_a_file_costs_what_its_pages_cost(far: FarEnd, calling: Calling) -> None:
    """Its base64 is no text: a budget that holds the call ten times lets it through, and who counts nothing costs about as much."""
    provider = ProviderServiceStub(calling.service.channel)
    # forty pages of three thousand tokens are 3 cents; as text it would be 29
    limit = Money(currency_code="USD", nanos=200_000_000)
    await provider.SetBudget(api.SetBudgetRequest(budget=Budget(budget_id="b", limit=limit, mode=Budget.MODE_DENY)))
    far.script["gpt-5-mini"] = [says(usage=(90_000, 7)), says(usage=None), sends(chunk("Hel"), ends=False)]
    async with openai_client(calling) as client:
        told = await client.chat.completions.with_raw_response.create(model=GPT, messages=PAGES)
        guessed = await client.chat.completions.with_raw_response.create(model=GPT, messages=PAGES)
        stream = await client.chat.completions.create(model=GPT, messages=PAGES, stream=True)
        with pytest.raises(Exception, match="stream"):
            async for _ in stream:
                pass
    costs = [float(each.headers["x-tooloo-cost"]) for each in (told, guessed)]
    spent = (await provider.GetBudget(api.GetBudgetRequest(budget_id="b"))).standing.spent
    costs.append(spent.units + spent.nanos / 1e9 - sum(costs))
    assert costs == pytest.approx([costs[0]] * 3, rel=0.5)


SOURCE = {"type": "char_location", "cited_text": "The grass is green.", "document_index": 0, "document_title": "facts"}
CITED = {**SOURCE, "start_char_index": 0, "end_char_index": 20}
BLOCKS: list[dict[str, Any]] = [
    {"type": "text", "text": "As it says, "},
    {"type": "text", "text": "the grass is green", "citations": [CITED, {**CITED, "end_char_index": 19}]},
    {"type": "text", "text": "."},
]
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
    "title": "facts",
    "citations": {"enabled": True},
}


def _streamed() -> list[bytes]:
    """The blocks as Anthropic streams them."""
    start = {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(BLOCKS):
        events.append({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
        deltas = [{"type": "text_delta", "text": block["text"]}]
        deltas += [{"type": "citations_delta", "citation": citation} for citation in block.get("citations", ())]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}})
    return [event(each) for each in [*events, {"type": "message_stop"}]]


async def test_what_an_answer_names_as_its_sources(far: FarEnd, calling: Calling) -> None:
    """Claude's citations come to Anthropic's client block by block, whole, streamed and again; others read the same words."""
    whole = {"content": BLOCKS, "stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 9}}
    far.script["claude-haiku-4-5"] = [lambda end: end.answer(200, json.dumps(whole).encode()), *[sends(*_streamed())] * 3]
    messages: list[Any] = [{"role": "user", "content": [DOCUMENT, {"type": "text", "text": "What color?"}]}]
    ask: dict[str, Any] = {"model": CLAUDE, "max_tokens": 99, "messages": messages}
    async with anthropic_client(calling) as client, openai_client(calling) as other:
        answers = [await client.messages.create(**ask)]
        for _ in range(2):
            async with client.messages.stream(**ask, extra_headers={"idempotency-key": "once"}) as stream:
                answers.append(await stream.get_final_message())
        said = await other.chat.completions.create(model=CLAUDE, messages=[{"role": "user", "content": "x"}], stream=True)
        words = "".join([each.choices[0].delta.content or "" async for each in said])
        response = await other.responses.create(model=CLAUDE, input="x", stream=True)
        last = [each async for each in response][-1]
    assert body_of(far.asked[0])["messages"][0]["content"][0] == DOCUMENT
    for answer in answers:
        assert [block.model_dump(exclude_none=True) for block in answer.content] == BLOCKS
    assert last.type == "response.completed"
    assert words == last.response.output_text == "".join(block["text"] for block in BLOCKS)
