"""A conversation as the body of a chat completion request."""

from collections.abc import Sequence
from typing import Any

from services.provider.chat import Chat, Foreign, Image, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.base import Unsupported, marked, own_extra, own_part, words_of_result

NAME = "openai"
_ROLES = {Role.SYSTEM: "system", Role.USER: "user", Role.ASSISTANT: "assistant", Role.TOOL: "user"}
# what a wish for so many tokens of thinking is called in words
_EFFORTS = ((0, "none"), (2048, "low"), (8192, "medium"))


def write(chat: Chat, model: str, *, send_reasoning: bool = False) -> dict[str, Any]:
    """The body, without `stream`."""
    extra = own_extra(chat, NAME)
    body: dict[str, Any] = {"model": model, "messages": [made for each in chat.messages for made in _message(each, send_reasoning)]}
    numbers: dict[str, Any] = {
        "max_completion_tokens": chat.max_output_tokens,
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "presence_penalty": chat.presence_penalty,
        "frequency_penalty": chat.frequency_penalty,
        "seed": chat.seed,
    }
    body |= {name: value for name, value in numbers.items() if value is not None}
    if chat.stop:
        body["stop"] = list(chat.stop)
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
        body |= {"parallel_tool_calls": chat.parallel_tools} if chat.parallel_tools is not None else {}
    if chat.tool_choice:
        body["tool_choice"] = choice(chat.tool_choice)
    if chat.schema is not None:
        body["response_format"] = _format(chat)
    if effort := effort_of(chat):
        body["reasoning_effort"] = effort
    return {**body, **extra}


def choice(wish: str) -> Any:
    """The tool_choice of a wish in the neutral form."""
    return {"type": "function", "function": {"name": wish[1:]}} if wish.startswith("=") else wish


def effort_of(chat: Chat) -> str:
    """How hard to think, in a word; "" when nothing is wished."""
    if chat.reasoning_effort or chat.reasoning_tokens is None:
        return chat.reasoning_effort
    return next((word for most, word in _EFFORTS if chat.reasoning_tokens <= most), "high")


def _format(chat: Chat) -> dict[str, Any]:
    if not chat.schema:
        return {"type": "json_object"}
    form: dict[str, Any] = {"name": chat.schema_name or "answer", "schema": dict(chat.schema)}
    form |= {"strict": chat.schema_strict} if chat.schema_strict is not None else {}
    return {"type": "json_schema", "json_schema": form}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    function |= {"description": tool.description} if tool.description else {}
    function |= {"parameters": dict(tool.parameters)} if tool.parameters else {}
    function |= {"strict": tool.strict} if tool.strict is not None else {}
    return marked({"type": "function", "function": function}, tool.cache)


def _message(message: Message, send_reasoning: bool) -> list[dict[str, Any]]:
    """A message of the neutral form may be several here: each result of a tool is one of its own, and stands first."""
    results: list[dict[str, Any]] = [_result(part) for part in message.parts if isinstance(part, ToolResult)]
    # a tool message takes words only: pictures follow as the user's
    shown = [other for part in message.parts if isinstance(part, ToolResult) for other in part.others]
    parts = [*shown, *(part for part in message.parts if not isinstance(part, ToolResult))]
    named = {"name": message.name} if message.name else {}
    if message.role is Role.ASSISTANT:
        return [*results, _assistant(parts, send_reasoning) | named]
    if not parts and results:
        return results
    return [*results, {"role": _ROLES[message.role], "content": _content(parts)} | named]


def _assistant(parts: Sequence[Part], send_reasoning: bool) -> dict[str, Any]:
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    said = [part for part in parts if not isinstance(part, ToolCall | Reasoning)]
    made: dict[str, Any] = {"role": "assistant", "content": _content(said) if said else None}
    if calls:
        made["tool_calls"] = calls
    elif not said:
        made["content"] = ""
    if send_reasoning and (thought := "".join(part.text for part in parts if isinstance(part, Reasoning))):
        made["reasoning_content"] = thought
    return made


def _content(parts: Sequence[Part]) -> Any:
    """Words alone go as text, which every provider takes; a list only when there is more to say."""
    plain = [part.text for part in parts if isinstance(part, Text) and not part.cache]
    if len(plain) == len(parts) and len(plain) < 2:  # noqa: PLR2004 - several texts stay apart
        return "".join(plain)
    return [made for part in parts if (made := _part(part)) is not None]


def _part(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return marked({"type": "text", "text": part.text}, part.cache if part.text.strip() else "")
    if isinstance(part, Image):
        url = part.url or f"data:{part.media_type};base64,{part.data}"
        made = {"type": "image_url", "image_url": {"url": url, **({"detail": part.detail} if part.detail else {})}}
        return marked(made, part.cache)
    if isinstance(part, Foreign):
        return own_part(part, NAME)
    if isinstance(part, Reasoning):
        return None
    raise Unsupported(f"{type(part).__name__} cannot stand in this message")


def _call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments or "{}"}
    made: dict[str, Any] = {"id": part.call_id, "type": "function", "function": function}
    if part.signature:
        # where Google's own OpenAI-compatible door puts it
        made["extra_content"] = {"google": {"thought_signature": part.signature}}
    return made


def _result(part: ToolResult) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": part.call_id, "content": _content([Text(words_of_result(part), part.cache)])}
