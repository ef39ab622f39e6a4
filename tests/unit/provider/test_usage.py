"""Usage is read right in every dialect: each token once, wherever and however often a provider tells it."""

import json
from typing import Any

import pytest

from services.provider.assembling import assemble
from services.provider.chat import Usage
from services.provider.dialects.anthropic import answers as anthropic
from services.provider.dialects.gemini import answers as gemini
from services.provider.dialects.openai import usage as openai
from services.provider.dialects.table import DIALECTS
from services.provider.pricing import Price, Rate


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, Usage(10, 5)),
        # OpenAI: cached input is part of the input, reasoning part of the output
        (
            {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 192},
            },
            Usage(2006, 300, 1920, 0, 192),
        ),
        # DeepSeek
        (
            {"prompt_tokens": 99, "completion_tokens": 9, "prompt_cache_hit_tokens": 64},
            Usage(99, 9, 64),
        ),
        # OpenRouter tells what was written to the cache, too
        (
            {
                "prompt_tokens": 99,
                "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 20},
            },
            Usage(99, 9, 50, 20),
        ),
        # xAI counts reasoning beside the output, and its total says so
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, 0, 0, 94),
        ),
        # details that are null, negative or larger than the whole
        ({"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": None}, Usage(7, 1)),
        ({"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}}, Usage(7, 1, 7)),
        ({"prompt_tokens": -7, "completion_tokens": 1}, Usage(0, 1)),
        # zeros tell nothing: an answer that took no token is none
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        (None, None),
    ],
)
def test_openai(told: Any, expected: Usage | None) -> None:
    """The speakers of the OpenAI dialect."""
    assert openai.read(told) == expected


def test_anthropic_adds_what_stands_beside_the_input() -> None:
    """`input_tokens` are without those of the cache there (litellm#14849 charged cached tokens twice)."""
    told = {"input_tokens": 21, "cache_creation_input_tokens": 188086, "cache_read_input_tokens": 1000, "output_tokens": 393}
    assert anthropic.usage_of(told) == Usage(189107, 393, 1000, 188086)
    assert anthropic.write_usage(Usage(189107, 393, 1000, 188086)) == told
    told["cache_creation"] = {"ephemeral_5m_input_tokens": 188000, "ephemeral_1h_input_tokens": 86}  # type: ignore[assignment]
    assert anthropic.usage_of(told) == Usage(189107, 393, 1000, 188086, hour_cache_tokens=86)
    assert anthropic.write_usage(Usage(189107, 393, 1000, 188086, hour_cache_tokens=86)) == told


def test_gemini_adds_thoughts() -> None:
    """Thoughts stand beside the candidates, cached content within the prompt."""
    told = {
        "promptTokenCount": 50,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 200,
        "cachedContentTokenCount": 40,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 265,
    }
    assert gemini.usage_of(told) == Usage(55, 210, 40, 0, 200)


def test_sound_is_told_by_kind() -> None:
    """Gemini counts tokens by modality, cached ones too; OpenAI has one number."""
    told = {
        "promptTokenCount": 900,
        "candidatesTokenCount": 5,
        "cachedContentTokenCount": 400,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 500}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}],
    }
    assert gemini.usage_of(told) == Usage(900, 5, 400, audio_tokens=500, cached_audio_tokens=100)
    told["promptTokensDetails"] = [{"modality": "AUDIO", "tokenCount": 10**6}, "?"]
    assert gemini.usage_of(told) == Usage(900, 5, 400, audio_tokens=600, cached_audio_tokens=100)
    answered = {"prompt_tokens": 90, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 50}}
    usage = openai.read(answered)
    assert usage == Usage(90, 5, 30, audio_tokens=50)
    assert usage is not None
    assert openai.write(usage)["prompt_tokens_details"] == {"cached_tokens": 30, "audio_tokens": 50}


def test_each_token_is_charged_once() -> None:
    """Read from the cache at its rate, written to it at its rate, the rest at the input's: no token at two rates."""
    price = Price(Rate(3_000_000_000, 15_000_000_000, 300_000_000, 3_750_000_000))
    assert price.cost(1_000_000, 0, 600_000, 300_000) == 100_000 * 3000 + 600_000 * 300 + 300_000 * 3750
    assert Price(Rate(3, 15)).cost(1_000_000, 0, 600_000, 300_000) == 3
    # for an hour: twice the input, as Anthropic has it; nothing more at a provider that has no such cache
    assert price.cost(1_000_000, 0, 600_000, 300_000, 200_000) == 100_000 * 3000 + 600_000 * 300 + 100_000 * 3750 + 200_000 * 6000
    assert Price(Rate(3, 15)).cost(1_000_000, 0, 600_000, 300_000, 200_000) == 3
    # sound at its own rate, where it has one
    heard = Price(Rate(300_000_000, 0, 30_000_000, audio_input=1_000_000_000, cached_audio=100_000_000))
    parts = 100_000 * 300 + 500_000 * 1000 + 300_000 * 30 + 100_000 * 100
    assert heard.cost(1_000_000, 0, 400_000, audio_tokens=600_000, cached_audio_tokens=100_000) == parts
    assert Price(Rate(3, 15)).cost(1_000_000, 0, 400_000, audio_tokens=600_000, cached_audio_tokens=100_000) == 3


def _framed(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _openai_chunks(*chunks: dict[str, Any]) -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "model": "m"}
    return b"".join(b"data: " + json.dumps({**head, **chunk}).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


WORD: dict[str, Any] = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
STOP: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
TOLD: dict[str, Any] = {"usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}


@pytest.mark.parametrize(
    "chunks",
    [
        # OpenAI: a last chunk without choices
        (WORD, STOP, {"choices": [], **TOLD}),
        # litellm#36168: a last chunk with choices
        (WORD, {**STOP, **TOLD}),
        (WORD, STOP, {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}], **TOLD}),
        # in every chunk, growing
        ({**WORD, "usage": {"prompt_tokens": 9, "completion_tokens": 0}}, {**STOP, **TOLD}),
        # null until the end; choices absent; Groq's own place
        ({**WORD, "usage": None}, STOP, dict(TOLD)),
        (WORD, {**STOP, "x_groq": TOLD}),
    ],
)
def test_the_usage_of_a_stream_counts_wherever_it_stands(chunks: tuple[dict[str, Any], ...]) -> None:
    """A streamed call is never recorded as 0 because its counts stood in another chunk (litellm#36168, #37923)."""
    reader = DIALECTS["openai"].reader()
    answer = assemble([*reader.feed(_openai_chunks(*chunks)), *reader.end()])
    assert answer.usage == Usage(9, 1)


def test_anthropics_counts_are_each_the_whole_so_far() -> None:
    """message_delta's output replaces that of message_start, and what it leaves out stays."""
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {"model": "m", "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1}},
        },
        {"type": "ping"},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 20}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": None, "output_tokens": 33}},
        {"type": "message_stop"},
    ]
    reader = DIALECTS["anthropic"].reader()
    data = b"".join(map(_framed, events))
    assert assemble([*reader.feed(data), *reader.end()]).usage == Usage(12, 33, 7)
