"""The Responses dialect at our door: requests read into the neutral form, answers whole and as events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.provider.assembling import pieces
from services.provider.chat import (
    Answer,
    Chat,
    Delta,
    Finish,
    Image,
    Message,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from services.provider.dialects.asked import Unreadable
from services.provider.dialects.framing import Events
from services.provider.dialects.responses import answers as responses
from services.provider.dialects.responses.reading import read
from services.provider.dialects.responses.streams import Writer
from tests.unit.provider.dialect_cases import answers

ASKED: dict[str, Any] = {"model": "m", "input": "hello"}
SHOWN = read(ASKED).shown
# the official client's own model of what may come
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def chat_of(**fields: Any) -> Chat:
    """What a request with these fields beside model and input asks."""
    return read(ASKED | fields).chat


def events_of(answer: Answer, cut: int = 0) -> list[dict[str, Any]]:
    """The events of an answer, its words in pieces of at most so many characters."""
    writer = Writer(SHOWN, "q", 1, answer.model)
    data = b"".join(writer.write(small) for delta in pieces(answer) for small in _cut(delta, cut)) + writer.end()
    events = [(event.name, json.loads(event.data)) for event in Events().feed(data)]
    assert all(name == event["type"] for name, event in events)
    return [event for _, event in events]


def _cut(delta: Delta, size: int) -> list[Delta]:
    if not size or not delta.text:
        return [delta]
    words = [delta.text[start : start + size] for start in range(0, len(delta.text), size)]
    return [replace(delta, text=each) for each in words]


@given(answer=answers(), cut=st.integers(0, 5))
def test_events_end_with_what_the_whole_answer_says(answer: Answer, cut: int) -> None:
    """Numbers run without a gap, every item that begins ends, deltas add up, and the last event holds the very response."""
    events = events_of(answer, cut)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    whole = responses.write(answer, SHOWN, "q", 1, answer.model)
    assert events[-1]["response"] == whole
    assert events[-1]["type"] == f"response.{whole['status']}"
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == whole["output"]
    assert sum(event["type"] == "response.output_item.added" for event in events) == len(whole["output"])
    for kind, part in (("output_text", Text), ("reasoning_summary_text", Reasoning)):
        said = "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")
        assert said == "".join(each.text for each in answer.parts if isinstance(each, part))
    assert Response.model_validate(whole).model_dump(exclude_unset=True)["output"] == whole["output"]
    assert [EVENT.validate_python(event).type for event in events] == [event["type"] for event in events]


@given(answer=answers())
def test_what_was_answered_can_be_sent_back(answer: Answer) -> None:
    """The output of a response is the input of the next request, as the vendor's guides have it."""
    whole = responses.write(answer, {}, "q", 1, "m")
    asked = read(ASKED | {"input": [{"role": "user", "content": "go on"}, *whole["output"]]})
    assert asked.chat.messages == (Message(Role.USER, (Text("go on"),)), Message(Role.ASSISTANT, answer.parts))
    assert asked.unread == ()


def test_signatures_come_back() -> None:
    """What a provider wants back unchanged with a thought or a call goes through the caller's hands."""
    answer = Answer(
        (Reasoning("so", "sealed"), Reasoning("", "hidden"), ToolCall("call_1", "f", "{}", "signed")), Finish.TOOL_CALLS
    )
    chat = chat_of(input=responses.write(answer, {}, "q", 1, "m")["output"])
    assert chat.messages == (Message(Role.ASSISTANT, answer.parts),)
    ended = [event["item"] for event in events_of(answer) if event["type"] == "response.output_item.done"]
    assert chat_of(input=ended).messages == chat.messages


def test_a_refusal_in_words_is_one() -> None:
    """Its content is of a kind of its own, as events too, and the response is whole."""
    answer = Answer((Text("I would rather not", refused=True),), Finish.CONTENT_FILTER)
    events = events_of(answer, 3)
    whole = responses.write(answer, SHOWN, "q", 1, "")
    assert whole["status"] == "completed"
    assert whole["output"][0]["content"] == [{"type": "refusal", "refusal": "I would rather not"}]
    assert events[-1]["response"]["output"] == whole["output"]
    assert "".join(event["delta"] for event in events if event["type"] == "response.refusal.delta") == "I would rather not"
    assert [EVENT.validate_python(event).type for event in events] == [event["type"] for event in events]


def test_calls_that_come_interleaved_stay_apart() -> None:
    """Each call has its item, its place and its own arguments, however their pieces are mixed."""
    writer = Writer({}, "q", 1, "m")
    mixed = [(0, "call_a", "f", '{"x":'), (1, "call_b", "g", "{"), (0, "", "", "1}"), (1, "", "", "}")]
    data = b"".join(writer.write(Delta(tool_call=ToolCallDelta(*piece))) for piece in mixed) + writer.end()
    events = [json.loads(event.data) for event in Events().feed(data)]
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["output_index"], event["name"], event["arguments"]) for event in done] == [(0, "f", '{"x":1}'), (1, "g", "{}")]
    assert len({event["item_id"] for event in done}) == 2


def test_a_request_is_read_field_by_field() -> None:
    """Instructions, items of every kind, tools, a schema and the rest, in the words of the neutral form."""
    chat = chat_of(
        instructions="be brief",
        input=[
            {"role": "developer", "content": "and kind"},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "https://x/y.png"}],
            },
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "done"}]},
        ],
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        max_output_tokens=50,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        metadata={"a": "b"},
        service_tier="flex",
        include=["reasoning.encrypted_content"],
        truncation="disabled",
    )
    assert chat.messages == (
        Message(Role.SYSTEM, (Text("be brief"),)),
        Message(Role.SYSTEM, (Text("and kind"),)),
        Message(Role.USER, (Text("see"), Image(url="https://x/y.png"))),
        Message(Role.ASSISTANT, (ToolCall("call_1", "f", "{}"),)),
        Message(Role.TOOL, (ToolResult("call_1", "done"),)),
    )
    assert chat.tools == (Tool("f", "d", {"type": "object"}, True),)
    assert (chat.tool_choice, chat.parallel_tools, chat.max_output_tokens, chat.reasoning_effort) == ("=f", False, 50, "low")
    assert (chat.schema, chat.schema_name, chat.schema_strict) == ({"type": "object"}, "n", True)
    assert chat.hints == {"openai": {"metadata": {"a": "b"}, "service_tier": "flex", "verbosity": "low"}}
    assert not chat.extra


def test_what_nobody_reads_inside_of_an_item_is_told() -> None:
    """It is named in the header of what did not go along."""
    spoken = {"role": "user", "content": [{"type": "input_text", "text": "hi", "mood": "good"}], "note": "x"}
    assert read(ASKED | {"input": [spoken]}).unread == ("input.note", "input.content.mood")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"background": True}, "background"),
    ({"truncation": "auto"}, "truncation"),
    ({"include": ["file_search_call.results"]}, "include[0]"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 3}, "input"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0].file_id"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": 3}]}, "input[0].output"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"reasoning": {"effort": "low", "mode": "x"}}, "reasoning.mode"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"seed": 1}, "seed"),
    ({"temperature": 3}, "temperature"),
    ({"model": ""}, "model"),
]


@pytest.mark.parametrize(("fields", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_cannot_be_honoured_is_refused_by_its_name(fields: dict[str, Any], named: str) -> None:
    """The field that is wrong is named as the caller wrote it."""
    with pytest.raises(Unreadable) as caught:
        read(ASKED | fields)
    assert caught.value.field == named


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        (Finish.STOP, "completed", None),
        (Finish.LENGTH, "incomplete", "max_output_tokens"),
        (Finish.CONTENT_FILTER, "incomplete", "content_filter"),
    ],
)
def test_an_answer_that_was_cut_off_says_why(finish: Finish, status: str, reason: str | None) -> None:
    """Whole and streamed."""
    answer = Answer((Text("so far"),), finish)
    whole = responses.write(answer, {}, "q", 1, "m")
    assert (whole["status"], (whole["incomplete_details"] or {}).get("reason")) == (status, reason)
    assert events_of(answer)[-1]["type"] == f"response.{status}"


def test_fields_of_the_request_are_shown_again() -> None:
    """As given, or as the vendor's defaults are."""
    asked = read(ASKED | {"instructions": "be brief", "temperature": 0.5})
    shown = responses.write(Answer((Text("x"),), Finish.STOP), asked.shown, "q", 1, "m")
    assert (shown["instructions"], shown["temperature"], shown["top_p"], shown["tools"]) == ("be brief", 0.5, 1.0, [])
