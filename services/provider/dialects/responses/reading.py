"""A caller's Responses request, read into the neutral form. Nothing is kept here: the whole conversation comes with each call."""

from collections.abc import Callable
from typing import Any

from services.provider.chat import Chat, Foreign, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.asked import Asked, Fields, Unreadable, image_of_url, own_fields
from services.provider.dialects.openai.answers import signature_of
from services.provider.dialects.openai.reading import result_of
from services.provider.dialects.openai.requests import NAME
from services.provider.dialects.responses.answers import ENCRYPTED

# they change nothing about the answer, or are a wish: a provider of another dialect goes without them
_HINTS = (
    *("metadata", "store", "safety_identifier", "service_tier"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
)
_NOT_KEPT = "answers are not kept here; send what was said before along in input"
_REFUSED = {
    "previous_response_id": _NOT_KEPT,
    "conversation": _NOT_KEPT,
    "prompt": "prompts are not kept here; send instructions and input",
    "top_logprobs": "log probabilities are not given",
}
# what an answer shows again of its request, as the official client expects it
_SHOWN_AGAIN: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "user": None,
}
_INCLUDED = f"reasoning.{ENCRYPTED}"
_EVERYDAY_TIERS = ("auto", "default")
_CHOICES = ("auto", "none", "required")
_MOST_TOKENS = 10_000_000
_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}


def read(body: Any) -> Asked:
    """The request; Unreadable for what is wrong or cannot be honoured."""
    fields = Fields(body)
    shown = {name: default if (given := fields.rest().get(name)) is None else given for name, default in _SHOWN_AGAIN.items()}
    model, user, stream = fields.name("model"), fields.text("user", most=256), bool(fields.flag("stream"))
    _refuse(fields, stream=stream)
    if fields.rest().get("service_tier") in _EVERYDAY_TIERS:
        fields.pass_over("service_tier")
    schema, schema_name, strict, verbosity = _text(fields)
    hints = {name: value for name in _HINTS if (value := fields.take(name)) is not None}
    hints |= {name: value for name, value in (("user", user), ("verbosity", verbosity)) if value}
    moderation = fields.mapping("moderation")
    chat = Chat(
        messages=(*_instructions(fields), *_input(fields)),
        tools=tuple(_tool(fields.within(tool, f"tools[{index}]")) for index, tool in enumerate(fields.items("tools"))),
        tool_choice=_choice(fields),
        parallel_tools=fields.flag("parallel_tool_calls"),
        max_output_tokens=fields.integer("max_output_tokens", 1, _MOST_TOKENS),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        schema=schema,
        schema_name=schema_name,
        schema_strict=strict,
        reasoning_effort=_effort(fields),
        hints=own_fields(hints, NAME),
        # goes to providers that speak OpenAI's dialect, and is refused by name elsewhere
        extra=own_fields({"moderation": moderation} if moderation else {}, NAME),
    )
    fields.only()
    return Asked(chat, model, stream, True, user, fields.unread(), shown)


def _refuse(fields: Fields, *, stream: bool) -> None:
    for name, why in _REFUSED.items():
        fields.refuse(name, why)
    if fields.flag("background"):
        raise Unreadable("background", "answers are given at once; leave it out", "unsupported_parameter")
    if fields.text("truncation") not in ("", "disabled"):
        raise Unreadable("truncation", "nothing is cut out of an input; leave it out", "unsupported_parameter")
    for index, name in enumerate(fields.items("include")):
        if name != _INCLUDED:
            raise Unreadable(f"include[{index}]", f"only {_INCLUDED} can be included", "unsupported_parameter")
    # of tools that run at a provider, of which there are none
    fields.integer("max_tool_calls", 0, _MOST_TOKENS)
    options = fields.table("stream_options")
    if options is not None:
        if not stream:
            raise Unreadable("stream_options", "may be given only when stream is true")
        options.flag("include_obfuscation")
        options.only()


def _effort(fields: Fields) -> str:
    """How much to think. A summary of the thoughts comes whenever a provider shows some."""
    reasoning = fields.table("reasoning")
    if reasoning is None:
        return ""
    effort = reasoning.text("effort", most=32)
    reasoning.text("summary", most=32)
    reasoning.text("generate_summary", most=32)
    reasoning.only()
    return effort


def _text(fields: Fields) -> tuple[dict[str, Any] | None, str, bool | None, str]:
    """(schema, its name, strictness, verbosity)."""
    text = fields.table("text")
    if text is None:
        return None, "", None, ""
    verbosity, form = text.text("verbosity", most=32), text.table("format")
    text.only()
    kind = form.text("type", required=True) if form else "text"
    if form is None or kind == "text":
        return None, "", None, verbosity
    if kind == "json_object":
        return {}, "", None, verbosity
    if kind != "json_schema":
        raise Unreadable("text.format.type", "must be text, json_object or json_schema")
    schema, description = form.mapping("schema"), form.text("description")
    schema = {"description": description, **schema} if description and schema else schema
    return schema, form.text("name", most=64), form.flag("strict"), verbosity


def _tool(tool: Fields) -> Tool:
    if (kind := tool.text("type", required=True)) != "function":
        raise Unreadable(tool.path("type"), f"{kind!r} tools are not passed on; give a function", "unsupported_parameter")
    return Tool(tool.name("name"), tool.text("description"), tool.mapping("parameters"), tool.flag("strict"))


def _choice(fields: Fields) -> str:
    wish = fields.take("tool_choice")
    if wish is None or wish in _CHOICES:
        return wish or ""
    if not isinstance(wish, dict) or wish.get("type") != "function" or not isinstance(wish.get("name"), str):
        raise Unreadable("tool_choice", 'must be "auto", "none", "required" or name a function', "unsupported_value")
    return f"={wish['name']}"


def _instructions(fields: Fields) -> tuple[Message, ...]:
    instructions = fields.text("instructions")
    return (Message(Role.SYSTEM, (Text(instructions),)),) if instructions else ()


def _input(fields: Fields) -> tuple[Message, ...]:
    """The messages of the input; what an assistant thought, said and called in a row is one of them."""
    given = fields.take("input")
    if isinstance(given, str):
        return (Message(Role.USER, (Text(given),)),)
    if given is None:
        raise Unreadable("input", "is required", "missing_required_parameter")
    if not isinstance(given, list):
        raise Unreadable("input", "must be a string or a list of items", "invalid_type")
    found: list[Message] = []
    for index, value in enumerate(given):
        message = _item(fields.within(value, f"input[{index}]"))
        if found and message.role is found[-1].role is Role.ASSISTANT:
            message = Message(Role.ASSISTANT, (*found.pop().parts, *message.parts))
        found.append(message)
    if not found:
        raise Unreadable("input", "must hold at least one item")
    return tuple(found)


def _item(fields: Fields) -> Message:
    kind = fields.text("type") or "message"
    read_item = _ITEMS.get(kind)
    if read_item is None:
        why = _NOT_KEPT if kind == "item_reference" else f"{kind!r} is of a tool that runs at a provider, or is not known here"
        raise Unreadable(fields.path("type"), why, "unsupported_value")
    # an answer of before has them, and they say nothing that is not known
    fields.pass_over("id", "status")
    return read_item(fields)


def _message(fields: Fields) -> Message:
    role = fields.text("role", required=True)
    if role not in _ROLES:
        raise Unreadable(fields.path("role"), "must be user, assistant, system or developer")
    return Message(_ROLES[role], _parts(fields, "content"))


def _called(fields: Fields) -> Message:
    signature = signature_of(fields.rest())
    fields.pass_over("extra_content")
    call = ToolCall(fields.name("call_id"), fields.name("name"), fields.text("arguments"), signature)
    return Message(Role.ASSISTANT, (call,))


def _result(fields: Fields) -> Message:
    return Message(Role.TOOL, (ToolResult(fields.name("call_id"), result_of(_parts(fields, "output"), fields.path("output"))),))


def _thought(fields: Fields) -> Message:
    summary = [fields.within(value, fields.path("summary")) for value in fields.items("summary")]
    for shown in summary:
        shown.pass_over("type")
    return Message(Role.ASSISTANT, (Reasoning("\n\n".join(each.text("text") for each in summary), fields.text(ENCRYPTED)),))


_ITEMS: dict[str, Callable[[Fields], Message]] = {
    "message": _message,
    "function_call": _called,
    "function_call_output": _result,
    "reasoning": _thought,
}


def _parts(fields: Fields, name: str) -> tuple[Part, ...]:
    content = fields.take(name)
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise Unreadable(fields.path(name), "must be a string or a list of parts", "invalid_type")
    return tuple(_part(fields.within(value, fields.path(f"{name}[{index}]"))) for index, value in enumerate(content))


def _part(fields: Fields) -> Part:
    kind = fields.text("type", required=True)
    if kind in ("input_text", "output_text", "text"):
        fields.pass_over("annotations", "logprobs")
        return Text(fields.text("text", required=True))
    if kind == "refusal":
        return Text(fields.text("refusal", required=True))
    if kind == "input_image":
        fields.refuse("file_id", "files are not kept here; give an image_url")
        return image_of_url(fields.text("image_url", required=True), fields.path("image_url"), fields.text("detail"))
    if kind == "input_file":
        fields.refuse("file_id", "files are not kept here; give file_data")
        fields.refuse("file_url", "only file_data is passed on")
        file = fields.rest()
        fields.close()
        return Foreign(NAME, {"type": "file", "file": file})
    raise Unreadable(fields.path("type"), f"{kind!r} is no known kind of part")
