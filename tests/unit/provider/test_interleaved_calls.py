"""Calls whose pieces come by turns become blocks that follow each other, as Anthropic's clients read them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.provider.assembling import assemble
from services.provider.chat import Delta, Finish, Text, ToolCall, ToolCallDelta
from services.provider.dialects.anthropic.streams import Reader, Writer
from services.provider.dialects.openai.streams import Reader as OpenAIReader
from tests.unit.provider.dialect_cases import ARGUMENTS


def written(deltas: Sequence[Delta]) -> bytes:
    """What is written of these pieces."""
    writer = Writer("msg_1", "m")
    return b"".join(map(writer.write, deltas)) + writer.end()


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The data of its events."""
    return [json.loads(line.removeprefix("data: ")) for line in stream.decode().split("\n") if line.startswith("data: ")]


def sequential(events: Sequence[dict[str, Any]]) -> bool:
    """Whether each block is begun, grows and is ended before the next one, counting up."""
    blocks = [(event["type"].rpartition("_")[2], event["index"]) for event in events if "index" in event]
    at = -1
    for kind, index in blocks:
        at += kind == "start"
        if index != at:
            return False
    return [kind for kind, _ in blocks if kind != "delta"] == ["start", "stop"] * (at + 1)


@st.composite
def turns(draw: st.DrawFn) -> tuple[list[Delta], list[str]]:
    """Pieces of some calls in any order that keeps each call's own, words between them; and the calls' arguments."""
    wanted = draw(st.lists(ARGUMENTS, min_size=1, max_size=4))
    begins = [ToolCallDelta(index, f"call_{index}", f"tool_{index}") for index in range(len(wanted))]
    queues = [[begins[index], *_cut(index, text, draw(st.integers(1, 9)))] for index, text in enumerate(wanted)]
    deltas: list[Delta] = []
    while any(queues):
        chosen = draw(st.sampled_from([queue for queue in queues if queue]))
        deltas.append(Delta(tool_call=chosen.pop(0)))
        if draw(st.integers(0, 9)) == 0:
            deltas.append(Delta(text="word"))
    return [*deltas, Delta(finish=Finish.TOOL_CALLS)], wanted


def _cut(index: int, text: str, size: int) -> list[ToolCallDelta]:
    return [ToolCallDelta(index, arguments=text[place : place + size]) for place in range(0, len(text), size)]


@settings(max_examples=40)
@given(turns())
def test_pieces_by_turns(case: tuple[list[Delta], list[str]]) -> None:
    """Every call arrives whole, with its id and name, whatever the order; so do the words."""
    deltas, wanted = case
    stream = written(deltas)
    assert sequential(events_of(stream)), stream
    parts = assemble(list(Reader().feed(stream))).parts
    calls = {part.call_id: (part.name, part.arguments) for part in parts if isinstance(part, ToolCall)}
    assert calls == {f"call_{index}": (f"tool_{index}", text) for index, text in enumerate(wanted)}
    assert "".join(part.text for part in parts if isinstance(part, Text)) == "".join(delta.text for delta in deltas)


def test_one_after_the_other_waits_for_nobody() -> None:
    """Each piece is written when it comes, as long as the calls come one after the other."""
    writer = Writer("msg_1", "m")
    pieces = [ToolCallDelta(0, "a", "f", '{"x":'), ToolCallDelta(0, arguments=" 1}"), ToolCallDelta(1, "b", "f", '{"y"')]
    for piece in pieces:
        assert json.dumps(piece.arguments) in writer.write(Delta(tool_call=piece)).decode(), piece


@pytest.mark.parametrize("reader", [OpenAIReader, Reader])
def test_a_call_without_arguments(reader: type[OpenAIReader | Reader]) -> None:
    """Streamed, too, it has an empty object: an empty text is no JSON, and both vendors' clients parse it."""
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "now", "arguments": ""}}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
    block = {"type": "tool_use", "id": "a", "name": "now", "input": {}}
    told: dict[type[Any], list[dict[str, Any]]] = {
        OpenAIReader: [{"choices": [choice]}, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}],
        Reader: [
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": block,
            },
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
            {"type": "content_block_stop", "index": 0},
        ],
    }
    reading = reader()
    deltas = [delta for event in told[reader] for delta in reading.feed(f"data: {json.dumps(event)}\n\n".encode())]
    [part] = assemble(deltas).parts
    assert getattr(part, "arguments", None) == "{}"
