"""Usage as the OpenAI dialect tells it, in the words of its many speakers."""

from typing import Any

from services.provider.chat import Usage
from services.provider.dialects.base import whole


def read(told: Any) -> Usage | None:
    """The usage; None when there is none. Cached input is part of the input here, and reasoning part of the output."""
    if not isinstance(told, dict):
        return None
    prompt, completion = whole(told.get("prompt_tokens")), whole(told.get("completion_tokens"))
    of_prompt, of_completion = _table(told, "prompt_tokens_details"), _table(told, "completion_tokens_details")
    reasoning = whole(of_completion.get("reasoning_tokens"))
    if reasoning and whole(told.get("total_tokens")) == prompt + completion + reasoning:
        # xAI counts thinking beside the output
        completion += reasoning
    cached = whole(of_prompt.get("cached_tokens")) or whole(told.get("prompt_cache_hit_tokens")) or whole(told.get("cached_tokens"))
    cached = min(cached, prompt)
    written = min(whole(of_prompt.get("cache_write_tokens")), prompt - cached)
    # zeros tell nothing: an answer that cost no token is none
    if not prompt and not completion:
        return None
    audio = min(whole(of_prompt.get("audio_tokens")), prompt - cached - written)
    return Usage(prompt, completion, cached, written, min(reasoning, completion), audio_tokens=audio)


def write(usage: Usage) -> dict[str, Any]:
    """The usage as the official client reads it."""
    details = {"cached_tokens": usage.cached_input_tokens}
    details |= {"cache_write_tokens": usage.cache_write_tokens} if usage.cache_write_tokens else {}
    details |= {"audio_tokens": usage.audio_tokens} if usage.audio_tokens else {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _table(told: dict[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}
