"""A caller's chat completion request, read into the neutral form."""

from typing import Any

from msgspec.structs import replace

from services.provider.chat import Chat, Foreign, Image, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.asked import Asked, Fields, Unreadable, cache_of, image_of_url, own_fields, texts_or_one
from services.provider.dialects.openai.answers import signature_of
from services.provider.dialects.openai.requests import NAME

# they change nothing about the answer, or are a wish: a provider of another dialect goes without them
_HINTS = (
    *("metadata", "store", "user", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("prediction", "service_tier", "verbosity"),
)
_EVERYDAY_TIERS = ("auto", "default")
_ONE_CHOICE = "one answer a call is given; leave it out or call again"
_REFUSED = {
    "logprobs": "log probabilities are not given",
    "top_logprobs": "log probabilities are not given",
    "functions": "is the old form; use tools",
    "function_call": "is the old form; use tool_choice",
    "audio": "spoken answers are not given",
}
_MOST_STOPS = 16
_MOST_TOKENS = 10_000_000
_LONGEST_NAME = 256
_CHOICES = ("auto", "none", "required")


def read(body: Any) -> Asked:
    """The request; Unreadable for what is wrong or cannot be honoured."""
    fields = Fields(body)
    model, user = fields.name("model"), fields.text("user", most=256)
    stream, with_usage = _stream(fields)
    if fields.holds_only("messages") and not user:
        # as many ask: there is nothing else to look at
        return Asked(Chat(_messages(fields)), model, stream, with_usage, unread=fields.unread())
    _refuse(fields)
    if fields.has("service_tier") and fields.rest()["service_tier"] in _EVERYDAY_TIERS:
        fields.take("service_tier")
    hints = {name: value for name in _HINTS if (value := fields.take(name)) is not None}
    hints |= {"user": user} if user else {}
    tools = tuple(_tool(fields.within(tool, f"tools[{index}]")) for index, tool in enumerate(fields.items("tools")))
    schema, schema_name, strict = _format(fields)
    chat = Chat(
        messages=_messages(fields),
        tools=tools,
        tool_choice=_choice(fields),
        parallel_tools=fields.flag("parallel_tool_calls"),
        max_output_tokens=_most_tokens(fields),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", -1, 1_000_000),
        presence_penalty=fields.number("presence_penalty", -2, 2) or None,
        frequency_penalty=fields.number("frequency_penalty", -2, 2) or None,
        stop=texts_or_one(fields, "stop", _MOST_STOPS),
        seed=fields.integer("seed", -(2**63), 2**63 - 1),
        schema=schema,
        schema_name=schema_name,
        schema_strict=strict,
        reasoning_effort=fields.text("reasoning_effort", most=32),
        hints=own_fields(hints, NAME),
        # what nobody read: goes to providers that speak this dialect, and is refused by name elsewhere
        extra=own_fields(fields.rest(), NAME),
    )
    return Asked(chat, model, stream, with_usage, user, fields.unread())


def _stream(fields: Fields) -> tuple[bool, bool]:
    stream = bool(fields.flag("stream"))
    options = fields.table("stream_options")
    if options is None:
        return stream, False
    if not stream:
        raise Unreadable("stream_options", "may be given only when stream is true")
    wished = bool(options.flag("include_usage"))
    options.take("include_obfuscation")
    options.only()
    return stream, wished


def _refuse(fields: Fields) -> None:
    if (fields.integer("n", 1, 128) or 1) != 1:
        raise Unreadable("n", _ONE_CHOICE, "unsupported_parameter")
    if fields.has("logprobs") and fields.flag("logprobs"):
        raise Unreadable("logprobs", _REFUSED["logprobs"], "unsupported_parameter")
    for name, why in _REFUSED.items():
        fields.refuse(name, why)
    if any(kind != "text" for kind in fields.items("modalities")):
        raise Unreadable("modalities", "answers are text", "unsupported_parameter")


def _most_tokens(fields: Fields) -> int | None:
    old = fields.integer("max_tokens", 1, _MOST_TOKENS)
    return fields.integer("max_completion_tokens", 1, _MOST_TOKENS) or old


def _format(fields: Fields) -> tuple[dict[str, Any] | None, str, bool | None]:
    """(schema, its name, strictness)."""
    form = fields.table("response_format")
    if form is None:
        return None, "", None
    kind = form.text("type", required=True)
    if kind == "text":
        return None, "", None
    if kind == "json_object":
        return {}, "", None
    inner = form.table("json_schema")
    if kind != "json_schema" or inner is None:
        raise Unreadable("response_format.type", "must be text, json_object or json_schema")
    schema, description = inner.mapping("schema"), inner.text("description")
    # a schema has a place of its own for it, which every dialect passes on
    schema = {"description": description, **schema} if description and schema else schema
    return schema, inner.text("name", most=64), inner.flag("strict")


def _tool(tool: Fields) -> Tool:
    if (kind := tool.text("type", required=True)) != "function":
        raise Unreadable(tool.path("type"), f"{kind!r} tools are not passed on; give a function", "unsupported_parameter")
    function = tool.table("function")
    if function is None:
        raise Unreadable(tool.path("function"), "is required", "missing_required_parameter")
    name, description = function.name("name"), function.text("description")
    return Tool(name, description, function.mapping("parameters"), function.flag("strict"), cache_of(tool))


def _choice(fields: Fields) -> str:
    wish = fields.take("tool_choice")
    if wish is None or wish in _CHOICES:
        return wish or ""
    named = wish.get("function") if isinstance(wish, dict) and wish.get("type") == "function" else None
    if not isinstance(named, dict) or not isinstance(named.get("name"), str):
        raise Unreadable("tool_choice", 'must be "auto", "none", "required" or name a function', "unsupported_value")
    return f"={named['name']}"


def _messages(fields: Fields) -> tuple[Message, ...]:
    if not fields.has("messages"):
        raise Unreadable("messages", "is required", "missing_required_parameter")
    found = tuple(_message(fields.within(value, f"messages[{index}]")) for index, value in enumerate(fields.items("messages")))
    if not found:
        raise Unreadable("messages", "must hold at least one message")
    return found


def _message(fields: Fields) -> Message:
    role, name = fields.text("role", required=True), fields.text("name", most=_LONGEST_NAME)
    if role in ("system", "developer"):
        return Message(Role.SYSTEM, _parts(fields), name)
    if role == "user":
        return Message(Role.USER, _parts(fields), name)
    if role == "assistant":
        return Message(Role.ASSISTANT, _said(fields), name)
    if role == "tool":
        return Message(Role.TOOL, (_result(fields),))
    raise Unreadable(fields.path("role"), "must be system, developer, user, assistant or tool")


def _result(fields: Fields) -> ToolResult:
    return ToolResult(fields.name("tool_call_id"), result_of(_parts(fields), fields.path("content")))


def result_of(parts: tuple[Part, ...], where: str) -> str | tuple[Text | Image, ...]:
    """What a tool gave; Unreadable for what this dialect lets no tool give."""
    found = tuple(part for part in parts if isinstance(part, Text | Image))
    if len(found) < len(parts):
        raise Unreadable(where, "may hold text and images", "unsupported_parameter")
    return found[0].text if len(found) == 1 and isinstance(found[0], Text) and not found[0].cache else found


def _said(fields: Fields) -> tuple[Part, ...]:
    """What an assistant said: its thoughts, its words, its calls."""
    fields.refuse("audio", "spoken answers are not passed on")
    fields.refuse("function_call", "is the old form; use tool_calls")
    thought, other = fields.text("reasoning_content"), fields.text("reasoning")
    thought = thought or other
    parts: list[Part] = [Reasoning(thought)] if thought else []
    parts += [part for part in _parts(fields) if not (isinstance(part, Text) and not part.text)]
    if refused := fields.text("refusal"):
        parts.append(Text(refused))
    for index, value in enumerate(fields.items("tool_calls")):
        call = fields.within(value, fields.path(f"tool_calls[{index}]"))
        call.pass_over("type", "index", "extra_content")
        function = call.table("function")
        if function is None:
            raise Unreadable(call.path("function"), "is required", "missing_required_parameter")
        parts.append(ToolCall(call.name("id"), function.name("name"), function.text("arguments"), signature_of(value)))
    return tuple(parts)


def _parts(fields: Fields) -> tuple[Part, ...]:
    content = fields.take("content")
    if content is None or isinstance(content, str):
        return (Text(content),) if content is not None else ()
    if not isinstance(content, list):
        raise Unreadable(fields.path("content"), "must be a string or a list of parts", "invalid_type")
    return tuple(_part(fields.within(value, fields.path(f"content[{index}]")), value) for index, value in enumerate(content))


def _part(fields: Fields, value: Any) -> Part:
    kind = fields.text("type", required=True)
    if kind == "text":
        return Text(fields.text("text", required=True), cache_of(fields))
    if kind == "refusal":
        return Text(fields.text("refusal", required=True))
    if kind == "image_url":
        url = fields.table("image_url")
        if url is None:
            raise Unreadable(fields.path("image_url"), "is required", "missing_required_parameter")
        image = image_of_url(url.text("url", required=True), url.path("url"), url.text("detail"))
        return replace(image, cache=mark) if (mark := cache_of(fields)) else image
    if kind in ("input_audio", "file", "video_url"):
        fields.close()
        return Foreign(NAME, value)
    raise Unreadable(fields.path("type"), f"{kind!r} is no known kind of part")
