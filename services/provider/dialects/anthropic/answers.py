"""An Anthropic message: read from a provider, written for a caller."""

import json
from collections.abc import Mapping
from typing import Any

from services.provider.chat import Answer, Finish, Foreign, Part, Reasoning, Text, ToolCall, Usage
from services.provider.dialects.anthropic.requests import NAME
from services.provider.dialects.base import arguments_of, malformed, whole
from services.provider.dialects.halves import mended_value
from services.provider.dialects.refusals import told_in_stream
from services.provider.failure import CallFailedError

FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "pause_turn": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "refusal": Finish.CONTENT_FILTER,
}
NAMES = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
}


def read(body: dict[str, Any]) -> Answer:
    """The answer; CallFailedError (MALFORMED) when it is none."""
    if body.get("type") == "error":
        raise failure_of(body)
    content = body.get("content")
    if not isinstance(content, list):
        raise malformed("the answer has no content")
    parts = tuple(part_of(block) for block in content)
    finish = finish_of(body.get("stop_reason")) or Finish.STOP
    return Answer(parts, finish, usage_of(body.get("usage")), str(body.get("model") or ""), str(body.get("stop_sequence") or ""))


def failure_of(event: dict[str, Any]) -> CallFailedError:
    """The failure that stands where an answer, or its next event, should."""
    error = event.get("error")
    error = error if isinstance(error, dict) else {}
    status = 529 if error.get("type") == "overloaded_error" else 0
    return CallFailedError(told_in_stream(str(error.get("type") or ""), str(error.get("message") or ""), status))


def finish_of(name: Any) -> Finish | None:
    """Why the answer ended; None when it has not."""
    return FINISHES.get(name, Finish.STOP) if isinstance(name, str) and name else None


def part_of(block: Any) -> Part:
    """A content block."""
    if not isinstance(block, dict):
        raise malformed("a content block that is no object")
    kind = block.get("type")
    if kind == "text":
        return Text(str(block.get("text") or ""), citations=citations_of(block))
    if kind == "thinking":
        return Reasoning(str(block.get("thinking") or ""), str(block.get("signature") or ""))
    if kind == "tool_use":
        arguments = json.dumps(block.get("input") or {}, separators=(",", ":"), ensure_ascii=False)
        return ToolCall(str(block.get("id") or ""), str(block.get("name") or ""), arguments)
    return Foreign(NAME, block)


def citations_of(block: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """What a block of words names as its sources."""
    found = block.get("citations")
    return tuple(mended_value(each) for each in found if isinstance(each, dict)) if isinstance(found, list) else ()


def usage_of(told: Any) -> Usage | None:
    """The usage: what was read from and written to the cache stands beside `input_tokens` here, so it is added."""
    if not isinstance(told, Mapping):
        return None
    read_, written = whole(told.get("cache_read_input_tokens")), whole(told.get("cache_creation_input_tokens"))
    inputs = whole(told.get("input_tokens")) + read_ + written
    output = whole(told.get("output_tokens"))
    parts = told.get("cache_creation")
    hour = whole(parts.get("ephemeral_1h_input_tokens")) if isinstance(parts, Mapping) else 0
    # zeros tell nothing: an answer that cost no token is none
    return Usage(inputs, output, read_, written, hour_cache_tokens=min(hour, written)) if inputs or output else None


def write_usage(usage: Usage) -> dict[str, Any]:
    """The usage as the official client reads it."""
    hour = usage.hour_cache_tokens
    parts = {"ephemeral_5m_input_tokens": usage.cache_write_tokens - hour, "ephemeral_1h_input_tokens": hour}
    return {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        **({"cache_creation": parts} if hour else {}),
    }


def stop_reason(finish: Finish, stop_sequence: str) -> str:
    """The reason in this dialect's words."""
    return "stop_sequence" if finish is Finish.STOP and stop_sequence else NAMES[finish]


def write(answer: Answer, answer_id: str, model: str) -> dict[str, Any]:
    """The message of an answer."""
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [block_of(part) for part in answer.parts],
        "stop_reason": stop_reason(answer.finish, answer.stop_sequence),
        "stop_sequence": answer.stop_sequence or None,
        "usage": write_usage(answer.usage or Usage()),
    }


def block_of(part: Part) -> dict[str, Any]:
    """A part of an answer as a content block; a part that only another dialect knows is shown as text."""
    if isinstance(part, Reasoning):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.call_id, "name": part.name, "input": arguments_of(part.arguments)}
    if isinstance(part, Foreign):
        return dict(part.value) if part.dialect == NAME else {"type": "text", "text": json.dumps(dict(part.value))}
    if isinstance(part, Text) and part.citations:
        return {"type": "text", "text": part.text, "citations": list(part.citations)}
    return {"type": "text", "text": part.text if isinstance(part, Text) else ""}
