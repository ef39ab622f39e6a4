"""The provider service before a real small model, whose words and usage nobody has written down beforehand (`make nightly`)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.integration.calling_bench import Calling, door_before
from tests.peers.llama import Llama, available, small_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available, reason="the small model is not built; run: make small-model (20 minutes, 400 MB)"),
]
# the far end has one model and answers whatever name it is asked by
BOTH = ("openai/gpt-5-mini", "anthropic/claude-haiku-4-5")
ASKED: Any = [{"role": "user", "content": "Say hello to Ada in one short sentence."}]


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[tuple[Calling, Llama]]:
    """The door and the far end."""
    async with small_model(tmp_path) as llama, door_before(llama.url, tmp_path) as calling:
        yield calling, llama


@pytest.mark.parametrize("model", BOTH)
async def test_words_and_usage_are_the_models_own(ends: tuple[Calling, Llama], model: str) -> None:
    """Without chance, whole and streamed give the same words in both dialects; the tokens told are those of the words."""
    calling, llama = ends
    async with openai.AsyncOpenAI(base_url=f"{calling.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        given: Any = {"model": model, "messages": ASKED, "temperature": 0, "max_tokens": 40}
        whole = await client.chat.completions.create(**given)
        stream = await client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        text = whole.choices[0].message.content or ""
        assert text.strip()
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
        last = chunks[-1].usage
        assert whole.usage is not None
        assert last is not None
        assert last.completion_tokens == whole.usage.completion_tokens
        assert last.prompt_tokens == whole.usage.prompt_tokens
        counted = await llama.tokens(text)
        # the turn's end is a token, too, unless the limit came before it
        assert whole.usage.completion_tokens - counted in (0, 1)
        assert whole.usage.prompt_tokens == await llama.prompt_tokens(ASKED)


async def test_a_limit_of_tokens_is_kept_and_said(ends: tuple[Calling, Llama]) -> None:
    """Cut off in the middle: the reason in each client's own words, and no token more is charged."""
    calling, _ = ends
    long: Any = [{"role": "user", "content": "Count from one to one hundred in words."}]
    async with openai.AsyncOpenAI(base_url=f"{calling.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        cut = await client.chat.completions.create(model=BOTH[0], messages=long, temperature=0, max_tokens=6)
        assert cut.choices[0].finish_reason == "length"
        assert cut.usage is not None
        assert cut.usage.completion_tokens == 6
    async with anthropic.AsyncAnthropic(base_url=calling.url, api_key="none", max_retries=0, timeout=120) as other:
        message = await other.messages.create(model=BOTH[1], messages=long, max_tokens=6)
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 6)


async def test_a_conversation_goes_on(ends: tuple[Calling, Llama]) -> None:
    """What was said before reaches the model, to the token."""
    calling, llama = ends
    more: Any = [*ASKED, {"role": "assistant", "content": "Hello, Ada!"}, {"role": "user", "content": "Once more, please."}]
    async with openai.AsyncOpenAI(base_url=f"{calling.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        answer = await client.chat.completions.create(model=BOTH[0], messages=more, temperature=0, max_tokens=20)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == await llama.prompt_tokens(more) > await llama.prompt_tokens(ASKED)
