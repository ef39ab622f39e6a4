"""A response object, as OpenAI's official client reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.provider.chat import Answer, Finish, Reasoning, Text, ToolCall, Usage

# where a thought keeps what must go back to the model unchanged
ENCRYPTED = "encrypted_content"
_KINDS = {Text: "msg", Reasoning: "rs", ToolCall: "fc"}
_REASONS = {Finish.LENGTH: "max_output_tokens", Finish.CONTENT_FILTER: "content_filter"}


def write(answer: Answer, shown: Mapping[str, Any], query_id: str, created: int, model: str) -> dict[str, Any]:
    """The whole response of an answer; `shown` are the fields of its request that it shows again."""
    said = [part for part in answer.parts if isinstance(part, Text | Reasoning | ToolCall)]
    output = [item(part, f"{query_id}_{index}") for index, part in enumerate(said)]
    refused = any(isinstance(part, Text) and part.refused for part in said)
    return response(shown, query_id, created, model) | ended(output, answer.finish, answer.usage, refused=refused)


def response(shown: Mapping[str, Any], query_id: str, created: int, model: str) -> dict[str, Any]:
    """A response that has just begun."""
    return {
        "id": f"resp_{query_id}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
        "usage": None,
        **shown,
    }


def ended(output: Sequence[dict[str, Any]], finish: Finish, usage: Usage | None, *, refused: bool) -> dict[str, Any]:
    """What changes of a response when it ends; a refusal that the model says in words is a whole answer."""
    reason = None if refused and finish is Finish.CONTENT_FILTER else _REASONS.get(finish)
    return {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": list(output),
        "usage": None if usage is None else write_usage(usage),
    }


def id_of(part: Text | Reasoning | ToolCall, item_id: str) -> str:
    """An item's id: its kind and what tells it apart."""
    return f"{_KINDS[type(part)]}_{item_id}"


def item(part: Text | Reasoning | ToolCall, item_id: str, status: str = "completed") -> dict[str, Any]:
    """One item of an output."""
    named = {"id": id_of(part, item_id)}
    if isinstance(part, Text):
        content = [content_of(part)] if status == "completed" else []
        return {**named, "type": "message", "status": status, "role": "assistant", "content": content}
    if isinstance(part, Reasoning):
        summary = [summary_text(part.text)] if part.text else []
        kept = {ENCRYPTED: part.signature} if part.signature else {}
        return {**named, "type": "reasoning", "summary": summary, **kept}
    call = {"call_id": part.call_id, "name": part.name, "arguments": part.arguments}
    signed = {"extra_content": {"google": {"thought_signature": part.signature}}} if part.signature else {}
    return {**named, "type": "function_call", "status": status, **call, **signed}


def content_of(part: Text) -> dict[str, Any]:
    """The content of a message."""
    if part.refused:
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


def summary_text(words: str) -> dict[str, Any]:
    """A thought as far as it is shown."""
    return {"type": "summary_text", "text": words}


def write_usage(usage: Usage) -> dict[str, Any]:
    """The usage as the official client reads it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
