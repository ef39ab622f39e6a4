"""A conversation as the body of an Ollama chat request."""

import hashlib
from typing import Any

from services.provider.chat import Chat, Foreign, Image, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.base import Unsupported, arguments_of, one_call_at_most, own_extra, own_part, words_of_result
from services.provider.tokens import of_chat

NAME = "ollama"
_ROLES = {Role.SYSTEM: "system", Role.USER: "user", Role.ASSISTANT: "assistant", Role.TOOL: "user"}
_LEVELS = ("low", "medium", "high")
# Ollama cuts what is longer than its context without a word, so a longer one is asked for
_DEFAULT_CONTEXT = 4096
_ROOM_FOR_ANSWER = 1024


def write(chat: Chat, model: str) -> dict[str, Any]:
    """The body, without `stream`."""
    one_call_at_most(chat, NAME)
    extra = dict(own_extra(chat, NAME))
    if chat.tool_choice not in ("", "auto", "none"):
        raise Unsupported("tool_choice: the ollama dialect lets the model choose")
    writer = _Messages()
    body: dict[str, Any] = {"model": model, "messages": [made for each in chat.messages for made in writer.write(each)]}
    if chat.tools and chat.tool_choice != "none":
        body["tools"] = [_tool(tool) for tool in chat.tools]
    if chat.schema is not None:
        body["format"] = dict(chat.schema) or "json"
    if chat.reasoning_tokens == 0 or chat.reasoning_effort == "none":
        body["think"] = False
    elif chat.reasoning_tokens is not None or chat.reasoning_effort:
        body["think"] = chat.reasoning_effort if chat.reasoning_effort in _LEVELS else True
    if options := {**_options(chat), **extra.pop("options", {})}:
        body["options"] = options
    return {**body, **extra}


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
    }


def call_id(name: str, arguments: str, index: int) -> str:
    """An id for a call that came without one."""
    digest = hashlib.sha256("\0".join((str(index), name, arguments)).encode()).hexdigest()
    return f"call_{digest[:24]}"


def _options(chat: Chat) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "num_predict": chat.max_output_tokens,
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k if (chat.top_k or 0) > 0 else None,
        "presence_penalty": chat.presence_penalty,
        "frequency_penalty": chat.frequency_penalty,
        "seed": chat.seed,
    }
    options = {name: value for name, value in numbers.items() if value is not None}
    options |= {"stop": list(chat.stop)} if chat.stop else {}
    needed = of_chat(chat) + (chat.max_output_tokens or _ROOM_FOR_ANSWER)
    if needed > _DEFAULT_CONTEXT:
        options["num_ctx"] = 1 << (needed - 1).bit_length()
    return options


class _Messages:
    """Writes messages. A result names the tool that was called, so the calls before are remembered."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def write(self, message: Message) -> list[dict[str, Any]]:
        """A message; each result of a tool is one of its own."""
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        made = [
            {"role": "tool", "tool_name": self._names.get(part.call_id, part.call_id), "content": words_of_result(part)}
            for part in results
        ]
        shown = [other for part in results for other in part.others]
        rest: list[Part] = [*shown, *(part for part in message.parts if not isinstance(part, ToolResult))]
        return [*made, self._said(message.role, rest)] if rest or not results else list(made)

    def _said(self, role: Role, parts: list[Part]) -> dict[str, Any]:
        for part in parts:
            if isinstance(part, Foreign):
                own_part(part, NAME)
                raise Unsupported("a part of its own: the ollama dialect has none")
        made: dict[str, Any] = {"role": _ROLES[role], "content": "".join(part.text for part in parts if isinstance(part, Text))}
        if images := [_image(part) for part in parts if isinstance(part, Image)]:
            made["images"] = images
        if thought := "".join(part.text for part in parts if isinstance(part, Reasoning)):
            made["thinking"] = thought
        if calls := [part for part in parts if isinstance(part, ToolCall)]:
            self._names |= {call.call_id: call.name for call in calls}
            made["tool_calls"] = [{"function": {"name": call.name, "arguments": arguments_of(call.arguments)}} for call in calls]
        return made


def _image(image: Image) -> str:
    if image.url:
        raise Unsupported("image_url: Ollama fetches nothing; send the picture's bytes as a data URL")
    return image.data
