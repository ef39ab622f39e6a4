"""Answers that are not quite what the dialect says and still mean something: calls, counts and errors as some write them."""

import json
from typing import Any

import pytest

from services.provider.assembling import Assembler, assemble
from services.provider.chat import Chat, Message, Role, Text, ToolCall, Usage
from services.provider.dialects.framing import write_event
from services.provider.dialects.openai import answers
from services.provider.dialects.openai.streams import Reader
from services.provider.dialects.table import DIALECTS
from services.provider.failure import CallFailedError, FailureKind
from services.provider.tokens import to_charge


def calls_of(*pieces: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of the calls of a stream with these pieces."""
    reader = Reader()
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    deltas = [delta for chunk in chunks for delta in reader.feed(write_event(json.dumps(chunk)))]
    parts = assemble(deltas).parts
    return [(part.call_id, part.name, part.arguments) for part in parts if isinstance(part, ToolCall)]


def piece(arguments: str, call_id: str = "", name: str = "", index: int | None = None) -> dict[str, Any]:
    """A piece of a call; what is empty is left out."""
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"function": function, **({"id": call_id} if call_id else {}), **({} if index is None else {"index": index})}


ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'
TWO = [("a", "weather", ROME), ("b", "weather", OSLO)]
STREAMS = {
    "as OpenAI": (piece("", "a", "weather", 0), piece(ROME, index=0), piece("", "b", "weather", 1), piece(OSLO, index=1)),
    "all first, whole": (piece(ROME, "a", "weather", 0), piece(OSLO, "b", "weather", 0)),
    "all first, in pieces": (
        *(piece(ROME[:5], "a", "weather", 0), piece(ROME[5:], index=0)),
        *(piece("", "b", "weather", 0), piece(OSLO[:5], index=0), piece(OSLO[5:], "b", index=0)),
    ),
    "without index": (piece(ROME[:5], "a", "weather"), piece(ROME[5:]), piece(OSLO, "b", "weather")),
    "without index, by id": (*(piece(ROME[:5], "a", "weather"), piece(OSLO, "b", "weather")), piece(ROME[5:], "a")),
    "another id with each piece": (
        *(piece(ROME[:5], "a", "weather", 0), piece(ROME[5:], "x", index=0)),
        *(piece(OSLO[:5], "b", "weather", 1), piece(OSLO[5:], "y", index=1)),
    ),
}


@pytest.mark.parametrize("way", STREAMS)
def test_two_calls_at_once_stay_two(way: str) -> None:
    """Whatever index each comes under, their arguments are not run together."""
    assert calls_of(*STREAMS[way]) == TWO


def test_a_third_call_under_its_own_index() -> None:
    """After one that had to move to a free place."""
    third = ("c", "time", "{}")
    assert calls_of(*STREAMS["all first, whole"], piece("{}", "c", "time", 1)) == [*TWO, third]


def test_calls_without_ids() -> None:
    """Each gets one, whole and streamed, that no other call of this answer or of the next has: its result must name it."""
    found = []
    for answer_id in ("1", "2"):
        calls = [{"function": {"name": "weather", "arguments": arguments}} for arguments in (ROME, ROME)]
        message = {"tool_calls": calls}
        whole = answers.read({"id": answer_id, "choices": [{"message": message, "finish_reason": "tool_calls"}]})
        found += [part.call_id for part in whole.parts if isinstance(part, ToolCall)]
        reader = Reader()
        pieces = [piece(ROME[:5], name="weather", index=0), piece(ROME[5:], index=0), piece(ROME, name="weather", index=1)]
        chunks = [{"id": answer_id, "choices": [{"index": 0, "delta": {"tool_calls": [each]}}]} for each in pieces]
        streamed = assemble([delta for chunk in chunks for delta in reader.feed(write_event(json.dumps(chunk)))])
        assert [part.arguments for part in streamed.parts if isinstance(part, ToolCall)] == [ROME, ROME]
        found += [part.call_id for part in streamed.parts if isinstance(part, ToolCall)]
    assert all(found)
    assert len({*found[:2]} | {*found[4:6]}) == len({*found[2:4]} | {*found[6:]}) == 4


def test_arguments_that_are_an_object() -> None:
    """They are JSON for the caller all the same, whole and streamed."""
    call = {"id": "a", "index": 0, "function": {"name": "weather", "arguments": {"city": "Zürich", "days": None}}}
    whole = answers.read({"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    [part] = whole.parts
    assert isinstance(part, ToolCall)
    [(_, _, streamed)] = calls_of(call)
    assert json.loads(part.arguments) == json.loads(streamed) == {"city": "Zürich", "days": None}


ERRORS: dict[str, dict[str, Any]] = {
    "openai": {"error": {"message": "slow down", "code": 429}},
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
    "gemini": {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}},
}


@pytest.mark.parametrize("dialect", ERRORS)
def test_an_error_with_status_200(dialect: str) -> None:
    """What it says decides what is done about it, not that it is no answer."""
    with pytest.raises(CallFailedError) as caught:
        DIALECTS[dialect].answer(json.dumps(ERRORS[dialect]).encode())
    failure = caught.value.failure
    assert (failure.kind, failure.detail) == (FailureKind.RATE_LIMITED, "slow down")


@pytest.mark.parametrize("counts", [(11, 0), (0, 11), (11, None), (None, 11), (11, 11)])
def test_input_that_is_told_once(counts: tuple[int | None, int | None]) -> None:
    """At the beginning or at the end of a message; 0 at the other does not make the input free."""
    start, end = counts
    reader = DIALECTS["anthropic"].reader()
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": start, "output_tokens": 1}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": end, "output_tokens": 7}},
        {"type": "message_stop"},
    ]
    deltas = [delta for each in events for delta in reader.feed(write_event(json.dumps(each)))]
    assert assemble(deltas).usage == Usage(11, 7)


@pytest.mark.parametrize("told", [10**30, 2**62, -5, "12", 1.5, True, None])
def test_a_count_that_is_none(told: object) -> None:
    """Neither does the store overflow nor is the question free: it is charged by estimate, the rest as it was told."""
    body = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": told, "completion_tokens": 7}}
    assembler = Assembler()
    assembler.usage = answers.read(body).usage
    chat = Chat((Message(Role.USER, (Text("word " * 70),)),))
    usage, estimated = to_charge(chat, assembler, finished=True)
    assert (usage, estimated) == (Usage(104, 7), True)
