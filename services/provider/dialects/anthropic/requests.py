"""A conversation as the body of an Anthropic messages request."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.provider.chat import Chat, Foreign, Image, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.base import (
    FIRST_TURN,
    Unsupported,
    arguments_of,
    marked,
    own_extra,
    own_part,
    unknown_of,
    with_a_turn,
)

NAME = "anthropic"
# a header, which travels among the fields of a conversation
BETAS = "anthropic-beta"
# how thoughts are shown, which goes along only where there are some
DISPLAY = "thinking.display"
# the dialect wants a limit; this is what every model of the last years may give
DEFAULT_OUTPUT_TOKENS = 8192
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# other dialects go up to 2
_HOTTEST = 1
_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
# from 4.6 on the models divide their thinking by themselves
_VERSION = re.compile(r"claude-[a-z]+-(\d+)-(\d{1,2})(?:\D|$)")
_ADAPTIVE_FROM = (4, 6)
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_ANY_JSON = "Answer with one JSON object and nothing else: no prose, no code fence."


def write(chat: Chat, model: str) -> dict[str, Any]:
    """The body, without `stream`."""
    chat, extra = with_a_turn(chat), dict(own_extra(chat, NAME))
    if chat.presence_penalty or chat.frequency_penalty:
        raise Unsupported("presence_penalty, frequency_penalty: the anthropic dialect has no such thing")
    if blank := [text for text in chat.stop if not text.strip()]:
        raise Unsupported(f"stop: the anthropic dialect takes no blank text such as {blank[0]!r}")
    body: dict[str, Any] = {"model": model, "max_tokens": chat.max_output_tokens or DEFAULT_OUTPUT_TOKENS}
    if system := _system(chat):
        body["system"] = system
    body["messages"] = _messages(chat.messages)
    body |= {"temperature": min(chat.temperature, _HOTTEST)} if chat.temperature is not None else {}
    # the newer models refuse both; 1 is what is taken without it, and many send it beside every temperature
    also = chat.top_p is not None and not (chat.top_p == 1 and chat.temperature is not None)
    body |= {"top_p": chat.top_p} if also else {}
    body |= {"top_k": chat.top_k} if chat.top_k is not None and chat.top_k > 0 else {}
    body |= {"stop_sequences": list(chat.stop)} if chat.stop else {}
    tools, choice = (chat.tools, _choice(chat)) if chat.tools else (_called(chat), {"type": "none"})
    if tools:
        body |= {"tools": [_tool(tool) for tool in tools], **({"tool_choice": choice} if choice else {})}
    _think(body, chat, model)
    if (display := extra.pop(DISPLAY, "")) and "thinking" in body:
        body["thinking"]["display"] = display
    if chat.schema:
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": dict(chat.schema)}
    if "output_config" in extra:
        extra["output_config"] = {**body.get("output_config", {}), **extra["output_config"]}
    return {**body, **extra}


def left_out(chat: Chat, model: str) -> Iterator[str]:
    """What of a conversation does not go along, or not as it was given."""
    if chat.seed is not None:
        yield "seed"
    if (chat.temperature or 0) > _HOTTEST:
        yield "temperature"
    thinks = bool(chat.reasoning_tokens) or chat.reasoning_effort not in ("", "none")
    if thinks:
        body: dict[str, Any] = {"max_tokens": chat.max_output_tokens or DEFAULT_OUTPUT_TOKENS}
        _think(body, chat, model)
        if "thinking" not in body:
            yield "reasoning_effort"
    yield from unknown_of(chat, NAME)


def _think(body: dict[str, Any], chat: Chat, model: str) -> None:
    """How much to think, in the way that the model takes it."""
    if chat.reasoning_tokens == 0 or chat.reasoning_effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    if chat.reasoning_tokens is None and not chat.reasoning_effort:
        return
    if chat.reasoning_effort and _adaptive(model):
        body |= {} if _must_call(chat) else {"thinking": {"type": "adaptive"}}
        body["output_config"] = {"effort": "low" if chat.reasoning_effort == "minimal" else chat.reasoning_effort}
        return
    if _must_call(chat) or _thoughts_are_lost(chat):
        return
    budget = chat.reasoning_tokens or _BUDGETS.get(chat.reasoning_effort, _BUDGETS["medium"])
    if chat.max_output_tokens is None:
        body["max_tokens"] = DEFAULT_OUTPUT_TOKENS + budget
    # the budget is part of max_tokens, and must leave room for the answer
    budget = min(budget, body["max_tokens"] - 1)
    if budget >= _LEAST_BUDGET:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _must_call(chat: Chat) -> bool:
    """Whether a tool has to be called: the provider refuses to think then."""
    return bool(chat.tools) and chat.tool_choice not in ("", "auto", "none")


def _thoughts_are_lost(chat: Chat) -> bool:
    """Whether the model has called tools since it was last asked, and its thoughts are not here, signed: it may not think on then.

    So it is when another model called them, or when the conversation came in a dialect that has no signatures.
    """
    said: list[Part] = []
    for message in reversed(chat.messages):
        if message.role is Role.USER and not any(isinstance(part, ToolResult) for part in message.parts):
            break
        said += message.parts if message.role is Role.ASSISTANT else ()
    thoughts = any(isinstance(part, Reasoning) and part.signature for part in said) or any(
        isinstance(part, Foreign) and part.value.get("type") == "redacted_thinking" for part in said
    )
    return not thoughts and any(isinstance(part, ToolCall) for part in said)


def _adaptive(model: str) -> bool:
    match = _VERSION.search(model)
    return match is not None and (int(match[1]), int(match[2])) >= _ADAPTIVE_FROM


def _system(chat: Chat) -> Any:
    """Every system message, at the top: the dialect has no other place. Words alone go as text."""
    parts = [part for message in chat.messages if message.role is Role.SYSTEM for part in message.parts]
    parts += [Text(_ANY_JSON)] if chat.schema == {} else []
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].cache and parts[0].text.strip():
        return parts[0].text
    return blocks(parts)


def _called(chat: Chat) -> list[Tool]:
    """The tools that a conversation called: the provider refuses one with calls in it that defines no tools, as others allow."""
    parts = (part for message in chat.messages for part in message.parts)
    return [Tool(name) for name in dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall))]


def _choice(chat: Chat) -> dict[str, Any]:
    wish = chat.tool_choice
    if not wish and chat.parallel_tools is None:
        return {}
    made = {"type": "tool", "name": wish[1:]} if wish.startswith("=") else {"type": _CHOICES.get(wish, "auto")}
    if chat.parallel_tools is False and wish != "none":
        return {**made, "disable_parallel_tool_use": True}
    return made


def _tool(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "input_schema": dict(tool.parameters) or {"type": "object", "properties": {}}}
    made |= {"description": tool.description} if tool.description else {}
    made |= {"strict": tool.strict} if tool.strict is not None else {}
    return marked({**made, **tool.extra.get(NAME, {})}, tool.cache)


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Speakers in turn: what one says in a row is one message, and all results of one turn's calls must stand together."""
    made: list[dict[str, Any]] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        content = blocks(message.parts)
        if not content:
            continue
        if made and made[-1]["role"] == role:
            made[-1]["content"] += content
        else:
            made.append({"role": role, "content": content})
    if made and made[0]["role"] == "assistant":
        made.insert(0, {"role": "user", "content": [{"type": "text", "text": FIRST_TURN}]})
    return made


def blocks(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Parts as content blocks; blank words and thoughts without a signature are refused by the provider, so they are left out."""
    return [made for part in parts if (made := _block(part))]


def _block(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return marked({"type": "text", "text": part.text}, part.cache) if part.text.strip() else None
    if isinstance(part, Image):
        return marked({"type": "image", "source": _source(part)}, part.cache)
    if isinstance(part, ToolCall):
        made = {"type": "tool_use", "id": _id(part.call_id), "name": part.name, "input": arguments_of(part.arguments)}
        return marked(made, part.cache)
    if isinstance(part, ToolResult):
        return _result(part)
    if isinstance(part, Reasoning):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature} if part.signature else None
    return own_part(part, NAME) if isinstance(part, Foreign) else None


def _source(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _result(part: ToolResult) -> dict[str, Any]:
    content = part.content if isinstance(part.content, str) else blocks(part.content) or ""
    made: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(part.call_id), "content": content}
    return marked(made | ({"is_error": True} if part.is_error else {}), part.cache)


def _id(call_id: str) -> str:
    """An id that the provider takes, the same for a call and its result: others' ids hold a dot and a colon, or a bar."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode(errors='replace')).hexdigest()[:24]}"
