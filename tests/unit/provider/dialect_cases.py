"""Conversations and answers for the tests of dialects, made by hypothesis within what every dialect can say."""

import json

from hypothesis import strategies as st

from services.provider.chat import (
    Answer,
    Chat,
    Finish,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

# no surrogates: they are no text; no lone carriage return in what travels in events would be our writer's to escape, and JSON does
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
IDS = st.from_regex(r"call_[a-zA-Z0-9]{4,12}", fullmatch=True)
ARGUMENTS = st.dictionaries(NAMES, st.one_of(WORDS, st.integers(-1000, 1000), st.booleans()), max_size=3).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
)
COUNTS = st.integers(1, 100_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Counts whose parts are not more than the whole."""
    given, made = draw(COUNTS), draw(COUNTS)
    read = draw(st.integers(0, given))
    return Usage(given, made, read, draw(st.integers(0, given - read)), draw(st.integers(0, made)))


@st.composite
def answers(draw: st.DrawFn, *, thoughts: bool = True) -> Answer:
    """Thoughts first, then words, then calls: the order that every dialect keeps."""
    parts: list[Part] = []
    if thoughts and draw(st.booleans()):
        parts.append(Reasoning(draw(WORDS)))
    if draw(st.booleans()):
        parts.append(Text(draw(WORDS)))
    ids = draw(st.lists(IDS, max_size=3, unique=True))
    parts += [ToolCall(call_id, draw(NAMES), draw(ARGUMENTS)) for call_id in ids]
    if not parts:
        parts.append(Text(draw(WORDS)))
    ends = [Finish.TOOL_CALLS] if ids else [Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER]
    return Answer(tuple(parts), draw(st.sampled_from(ends)), draw(usages()), "some-model")


IMAGES = st.builds(Image, st.sampled_from(["image/png", "image/jpeg"]), st.just("aGk="))
TOOLS = st.builds(Tool, NAMES, WORDS, st.just({"type": "object", "properties": {"city": {"type": "string"}}}))


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    """A system prompt, turns, a call and its result, and settings."""
    messages = [Message(Role.SYSTEM, (Text(draw(WORDS)),))] if draw(st.booleans()) else []
    messages.append(Message(Role.USER, (Text(draw(WORDS)), draw(IMAGES)) if draw(st.booleans()) else (Text(draw(WORDS)),)))
    tools = tuple(draw(st.lists(TOOLS, max_size=2, unique_by=lambda tool: tool.name)))
    if tools:
        call_id = draw(IDS)
        messages.append(Message(Role.ASSISTANT, (Text(draw(WORDS)), ToolCall(call_id, tools[0].name, draw(ARGUMENTS)))))
        messages.append(Message(Role.TOOL, (ToolResult(call_id, draw(WORDS)),)))
        messages.append(Message(Role.USER, (Text(draw(WORDS)),)))
    choices = ["", "auto", "none", "required", *(f"={tool.name}" for tool in tools)] if tools else [""]
    return Chat(
        tuple(messages),
        tools,
        draw(st.sampled_from(choices)),
        max_output_tokens=draw(st.integers(2000, 9000)),
        temperature=draw(st.sampled_from([None, 0, 0.5, 1])),
        top_p=draw(st.sampled_from([None, 0.5])),
        stop=tuple(draw(st.lists(NAMES, max_size=2))),
    )
