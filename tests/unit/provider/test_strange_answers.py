"""Whatever a provider answers is an answer or a failure: nothing else is raised, wherever its JSON is not what the dialect says."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.dialects.table import DIALECTS
from services.provider.failure import CallFailedError

CALL = {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {}}}
COUNTS = {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}
SPOKEN = {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}], "tool_calls": [CALL]}
EVENTS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {
            "model": "m",
            "choices": [{"index": 0, "delta": SPOKEN, "finish_reason": "stop"}],
            "usage": COUNTS,
            "x_groq": {"usage": COUNTS},
        },
        {"error": {"message": "m", "code": 429, "type": "t"}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "i", "name": "n", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": "x"}, "usage": {"output_tokens": 2}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
    ],
    "gemini": [
        {
            "candidates": [{"content": {"parts": [{"text": "t", "thought": True}, {"functionCall": {"name": "f", "args": {}}}]}}],
            "usageMetadata": {"promptTokenCount": 1},
            "modelVersion": "m",
        },
        {"candidates": [{"finishReason": "STOP"}], "promptFeedback": {"blockReason": "SAFETY"}},
        {"error": {"code": 429, "message": "m", "status": "S", "details": [{"retryDelay": "1s"}]}},
    ],
    "ollama": [
        {"model": "m", "message": {"content": "t", "thinking": "t", "tool_calls": [CALL]}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1},
        {"error": "e"},
    ],
}
WHOLE: dict[str, dict[str, Any]] = {
    "openai": {"model": "m", "choices": [{"index": 0, "message": SPOKEN, "finish_reason": "stop"}], "usage": COUNTS},
    "anthropic": {
        "content": [{"type": "text", "text": "t"}, {"type": "tool_use", "id": "i", "name": "n", "input": {}}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {**EVENTS["gemini"][0], "candidates": [{**EVENTS["gemini"][0]["candidates"][0], "finishReason": "STOP"}]},
    "ollama": EVENTS["ollama"][1],
}
STRANGE: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 5, -1, 1.5, "text", "", [], {}, [5], ["text"], [None], [[]], {"x": 1}, [{"x": 1}]]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value."""
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def changed(value: dict[str, Any], path: tuple[Any, ...], other: Any) -> dict[str, Any]:
    """The value with something else at one place."""
    made = holder = copy.deepcopy(value)
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = other
    return made


def as_stream(dialect: str, events: list[dict[str, Any]]) -> bytes:
    """Events as the dialect frames them."""
    head, end = ("", "\n") if dialect == "ollama" else ("data: ", "\n\n")
    return b"".join(f"{head}{json.dumps(event)}{end}".encode() for event in events)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data(), other=STRANGE)
def test_a_stream_with_something_strange_in_it(dialect: str, data: st.DataObject, other: Any) -> None:
    """One value of one event is of another kind than the dialect says."""
    events = EVENTS[dialect]
    index = data.draw(st.integers(0, len(events) - 1))
    path = data.draw(st.sampled_from(list(places(events[index]))))
    told = as_stream(dialect, [*events[:index], changed(events[index], path, other)])
    reader = DIALECTS[dialect].reader()
    try:
        list(reader.feed(told))
        reader.end()
    except CallFailedError as error:
        _says_something(error)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data(), other=STRANGE)
def test_an_answer_with_something_strange_in_it(dialect: str, data: st.DataObject, other: Any) -> None:
    """The same of a whole answer."""
    path = data.draw(st.sampled_from(list(places(WHOLE[dialect]))))
    try:
        DIALECTS[dialect].answer(json.dumps(changed(WHOLE[dialect], path, other)).encode())
    except CallFailedError as error:
        _says_something(error)


def _says_something(error: CallFailedError) -> None:
    assert error.failure.detail


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"{}", b"[" * 100_000, b"<html>"])
def test_bytes_that_are_no_answer(dialect: str, body: bytes) -> None:
    """Broken and foreign bytes are failures."""
    with pytest.raises(CallFailedError):
        DIALECTS[dialect].answer(body)
