"""A caller's Anthropic messages request, read into the neutral form."""

import json
import re
from typing import Any

from services.provider.chat import Chat, Foreign, Image, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.anthropic.requests import BETAS, DISPLAY, NAME
from services.provider.dialects.asked import Asked, Fields, Unreadable, cache_of, own_fields, texts_or_one

_MOST_TOKENS = 10_000_000
_MOST_STOPS = 64
_BETAS = re.compile(r"[A-Za-z0-9_.,: -]{1,2000}")
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}
_ADAPTIVE_EFFORT = "high"
_EVERYDAY_TIER = "auto"
# they change nothing about the answer, or are a wish: a provider of another dialect goes without them
_HINTS = ("cache_control", "context_management", "diagnostics", "service_tier")


def read(body: Any, *, betas: str = "", counting: bool = False) -> Asked:
    """The request; `counting` for count_tokens, which has no limit. Unreadable for what is wrong or cannot be honoured.

    `betas` is the header that allows what Anthropic does not offer everybody yet: without it fields of the body are refused there.
    """
    fields = Fields(body)
    model, stream = fields.name("model"), bool(fields.flag("stream"))
    most = fields.integer("max_tokens", 1, _MOST_TOKENS)
    if most is None and not counting:
        raise Unreadable("max_tokens", "is required", "missing_required_parameter")
    metadata = fields.table("metadata")
    user = metadata.text("user_id", most=256) if metadata else ""
    hints: dict[str, Any] = {"metadata": {"user_id": user}} if user else {}
    if betas:
        if not _BETAS.fullmatch(betas):
            raise Unreadable(BETAS, "must be names, with commas between them")
        hints[BETAS] = betas
    hints |= {name: fields.take(name) for name in _HINTS if fields.has(name)}
    if hints.get("service_tier") == _EVERYDAY_TIER:
        hints.pop("service_tier")
    config = dict(fields.mapping("output_config"))
    tools = tuple(_tool(fields.within(tool, f"tools[{index}]")) for index, tool in enumerate(fields.items("tools")))
    choice, parallel = _choice(fields)
    effort, budget, display = _thinking(fields, config)
    hints |= {DISPLAY: display} if display else {}
    schema = _schema(fields, config)
    hints |= {"output_config": config} if config else {}
    chat = Chat(
        messages=(*_system(fields), *_messages(fields)),
        tools=tools,
        tool_choice=choice,
        parallel_tools=parallel,
        max_output_tokens=most,
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 0, 1_000_000),
        stop=texts_or_one(fields, "stop_sequences", _MOST_STOPS),
        schema=schema,
        reasoning_effort=effort,
        reasoning_tokens=budget,
        hints=own_fields(hints, NAME),
        extra=own_fields(fields.rest(), NAME),
    )
    return Asked(chat, model, stream, True, user, fields.unread())


def _thinking(fields: Fields, config: dict[str, Any]) -> tuple[str, int | None, str]:
    """(effort, budget, how thoughts are shown); the effort is taken out of `config` where it belongs to the thinking."""
    thinking = fields.table("thinking")
    kind = thinking.text("type", required=True) if thinking else ""
    display = thinking.text("display", most=64) if thinking else ""
    if thinking and kind == "enabled":
        budget = thinking.integer("budget_tokens", 1024, _MOST_TOKENS)
        if budget is None:
            raise Unreadable("thinking.budget_tokens", "is required", "missing_required_parameter")
        return "", budget, display
    if kind == "disabled":
        return "", 0, ""
    if kind == "adaptive":
        return str(config.pop("effort", "") or _ADAPTIVE_EFFORT), None, display
    if kind:
        raise Unreadable("thinking.type", "must be enabled, disabled or adaptive")
    return "", None, ""


def _schema(fields: Fields, config: dict[str, Any]) -> dict[str, Any] | None:
    form = config.pop("format", None) or fields.take("output_format")
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise Unreadable("output_config.format", 'must be {"type": "json_schema", "schema": {...}}')
    return dict(form["schema"])


def _choice(fields: Fields) -> tuple[str, bool | None]:
    wish = fields.table("tool_choice")
    if wish is None:
        return "", None
    kind, alone = wish.text("type", required=True), wish.flag("disable_parallel_tool_use")
    parallel = None if alone is None else not alone
    if kind == "tool":
        return f"={wish.name('name')}", parallel
    if kind not in _CHOICES:
        raise Unreadable("tool_choice.type", "must be auto, any, tool or none")
    return _CHOICES[kind], parallel


def _tool(fields: Fields) -> Tool:
    if (kind := fields.text("type")) not in ("", "custom"):
        raise Unreadable(fields.path("type"), f"{kind!r} runs at the provider and is not passed on", "unsupported_parameter")
    name, description = fields.name("name"), fields.text("description")
    schema, strict, mark = fields.mapping("input_schema"), fields.flag("strict"), cache_of(fields)
    extra = own_fields(fields.rest(), NAME)
    fields.close()
    return Tool(name, description, schema, strict, mark, extra)


def _system(fields: Fields) -> tuple[Message, ...]:
    system = fields.take("system")
    if not system:
        return ()
    return (Message(Role.SYSTEM, _content(fields, system, "system")),)


def _messages(fields: Fields) -> tuple[Message, ...]:
    if not fields.has("messages"):
        raise Unreadable("messages", "is required", "missing_required_parameter")
    found = []
    for index, value in enumerate(fields.items("messages")):
        message = fields.within(value, f"messages[{index}]")
        role = message.text("role", required=True)
        if role not in ("user", "assistant"):
            raise Unreadable(message.path("role"), "must be user or assistant")
        parts = _content(message, message.take("content"), message.path("content"))
        found.append(Message(Role.USER if role == "user" else Role.ASSISTANT, parts))
    if not found:
        raise Unreadable("messages", "must hold at least one message")
    return tuple(found)


def _content(fields: Fields, content: Any, where: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise Unreadable(where, "must be a string or a list of blocks", "invalid_type")
    return tuple(_block(fields.within(value, f"{where}[{index}]"), value) for index, value in enumerate(content))


def _block(fields: Fields, value: Any) -> Part:
    kind = fields.text("type", required=True)
    if kind == "text":
        return Text(fields.text("text", required=True), cache_of(fields))
    if kind == "image":
        return _image(fields)
    if kind == "tool_use":
        given = json.dumps(fields.mapping("input"), separators=(",", ":"), ensure_ascii=False)
        return ToolCall(fields.name("id"), fields.name("name"), given, cache=cache_of(fields))
    if kind == "tool_result":
        return _result(fields)
    if kind == "thinking":
        return Reasoning(fields.text("thinking"), fields.text("signature"))
    fields.close()
    return Foreign(NAME, value)


def _image(fields: Fields) -> Part:
    source = fields.table("source")
    if source is None:
        raise Unreadable(fields.path("source"), "is required", "missing_required_parameter")
    kind, cache = source.text("type", required=True), cache_of(fields)
    if kind == "base64":
        return Image(source.name("media_type"), source.text("data", required=True), cache=cache)
    if kind == "url":
        return Image(url=source.text("url", required=True), cache=cache)
    raise Unreadable(source.path("type"), "must be base64 or url", "unsupported_parameter")


def _result(fields: Fields) -> Part:
    given = fields.take("content")
    content: str | tuple[Text | Image | Foreign, ...] = ""
    if isinstance(given, str):
        content = given
    elif given is not None:
        where = fields.path("content")
        content = tuple(_within_result(part, where) for part in _content(fields, given, where))
    return ToolResult(fields.name("tool_use_id"), content, bool(fields.flag("is_error")), cache_of(fields))


def _within_result(part: Part, where: str) -> Text | Image | Foreign:
    """What the dialect lets a tool give; documents and the like go on as they came."""
    if isinstance(part, Text | Image | Foreign):
        return part
    raise Unreadable(where, "may hold text, images and documents", "unsupported_parameter")
