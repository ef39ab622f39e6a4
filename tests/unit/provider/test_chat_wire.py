"""Conversations on the wire: what a model said comes back as it said it; the same request is the same however it was written."""

import base64
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from tooloo.provider.v1 import chat_pb2

from mesh.errors import Refusal
from services.provider import chat_wire, completion_wire
from services.provider.assembling import Assembler
from services.provider.chat import (
    Answer,
    Delta,
    Finish,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from services.provider.completing_port import Ask
from services.provider.constraints import Constraints
from services.provider.flows import opening
from services.provider.strategies import Strategy

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ANY_WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
IMAGES = st.one_of(
    st.builds(lambda data: Image("image/png", base64.b64encode(data).decode()), st.binary(min_size=1, max_size=30)),
    st.builds(lambda path: Image("", "", f"https://example.com/{path}"), st.text("abc", max_size=5)),
)
THOUGHTS = st.lists(st.builds(Reasoning, WORDS, ANY_WORDS), max_size=3)
TOOL_CALLS = st.lists(st.builds(ToolCall, WORDS, WORDS, WORDS, ANY_WORDS), max_size=3)
CALLS = st.lists(st.one_of(st.builds(ToolCall, WORDS, WORDS, ANY_WORDS, ANY_WORDS), IMAGES), max_size=3)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", min_size=1, max_size=4), inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), JSON, max_size=5)


@given(THOUGHTS, st.lists(st.builds(Text, WORDS), max_size=1), CALLS)
def test_an_answer_given_back_is_what_the_model_said(thoughts: list[Part], words: list[Part], calls: list[Part]) -> None:
    """In its order: thoughts (which Anthropic wants first), words, calls of tools; signatures as they were."""
    parts = (*thoughts, *words, *calls)
    message = chat_wire.to_answer(Answer(parts, Finish.STOP))
    assert message.text == "".join(part.text for part in words if isinstance(part, Text))
    assert chat_wire.from_message(message) == Message(Role.ASSISTANT, parts)


@given(
    THOUGHTS,
    st.lists(st.builds(Text, WORDS), max_size=1),
    st.lists(st.builds(ToolCall, WORDS, WORDS, WORDS, ANY_WORDS), max_size=3),
)
def test_a_stream_can_be_put_together_by_its_caller(thoughts: list[Reasoning], words: list[Text], calls: list[ToolCall]) -> None:
    """Nothing of an answer is lost in pieces, also when a piece holds several things at once."""
    deltas = [Delta(reasoning=each.text, signature=each.signature or "s") for each in thoughts]
    deltas += [Delta(text=each.text) for each in words]
    deltas += [
        Delta(tool_call=ToolCallDelta(place, each.call_id, each.name, each.arguments, each.signature))
        for place, each in enumerate(calls)
    ]
    ours, theirs = Assembler(), Assembler()
    for delta in deltas:
        ours.add(delta)
        for event in completion_wire.to_events([delta]):
            call = event.tool_call
            piece = ToolCallDelta(call.index, call.call_id, call.name, call.arguments, call.signature)
            theirs.add(
                Delta(
                    text=event.text,
                    reasoning=event.reasoning,
                    signature=event.reasoning_signature,
                    tool_call=piece if event.HasField("tool_call") else None,
                )
            )
    assert theirs.answer() == ours.answer()


@given(st.lists(st.builds(ToolResult, WORDS, ANY_WORDS, st.booleans()), min_size=1, max_size=3))
def test_results_of_tools_arrive(results: list[ToolResult]) -> None:
    """As they were written."""
    parts = [
        chat_pb2.ChatPart(tool_result=chat_pb2.ToolResultPart(call_id=each.call_id, text=each.text, is_error=each.is_error))
        for each in results
    ]
    assert chat_wire.from_message(chat_pb2.ChatMessage(role=chat_pb2.ROLE_TOOL, parts=parts)).parts == tuple(results)


@given(OBJECTS)
def test_a_schema_is_as_it_was_written(schema: dict[str, Any]) -> None:
    """Whole numbers are integers again, and nothing else changes."""
    struct = Struct()
    struct.update(schema)
    found = chat_wire.plain(struct)
    assert found == schema
    assert _types(found) == _types(schema)


def _types(value: object) -> object:
    if isinstance(value, dict):
        return {name: _types(item) for name, item in value.items()}
    return [_types(item) for item in value] if isinstance(value, list) else type(value)


@given(OBJECTS, st.randoms(use_true_random=False))
def test_the_same_request_is_the_same(schema: dict[str, Any], chance: Any) -> None:
    """A Struct has no order: however it was built and sent, its digest is one, and so is what a provider's cache sees."""

    def built(names: list[str]) -> Ask:
        tool = chat_pb2.ToolDefinition(name="f")
        for name in names:
            tool.parameters.update({name: schema[name]})
        again = chat_pb2.ToolDefinition.FromString(tool.SerializeToString())
        message = chat_pb2.ChatMessage(text="hello")
        return Ask(chat_wire.from_chat([message], [again], chat_pb2.GenerationConfig()), "auto", {"user": "ada", "team": "red"})

    shuffled = list(schema)
    chance.shuffle(shuffled)
    one, other = built(list(schema)), built(shuffled)
    assert opening.digest(one) == opening.digest(other)
    assert repr(one.chat) == repr(other.chat)


OTHERS: dict[str, object] = {
    **dict.fromkeys(("model", "session_id", "focus_area", "policy_id", "fallback_chain"), "x"),
    "labels": {"team": "red"},
    "strategy": Strategy.BEST,
    "quality_weight": 0.5,
    "constraints": Constraints(regions=frozenset({"eu"})),
}


@pytest.mark.parametrize("field", OTHERS)
def test_another_request_is_another(field: str) -> None:
    """Whatever decides about the answer is part of what a request id stands for."""
    chat = chat_wire.from_chat([chat_pb2.ChatMessage(text="hello")], [], chat_pb2.GenerationConfig())
    plain = Ask(chat, "auto")
    other = Ask(chat, **{"model": "auto", field: OTHERS[field]})  # type: ignore[arg-type] # by name
    assert opening.digest(plain) != opening.digest(other)
    assert opening.digest(plain) == opening.digest(Ask(chat, "auto", stream=True)), "whole or streamed is the same answer"


def test_a_message_that_says_nothing() -> None:
    """Is refused by its place."""
    said = chat_pb2.ChatMessage(text="hello")
    with pytest.raises(Refusal, match=r"messages\[1\]"):
        chat_wire.from_chat([said, chat_pb2.ChatMessage()], [], chat_pb2.GenerationConfig())
