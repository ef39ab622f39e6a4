"""Whatever a caller sends to a compatible door is read or refused by a field's name; nothing else is raised, then or later."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.dialects.asked import Asked, Unreadable
from services.provider.dialects.doors import AnthropicDoor, Door, OpenAIDoor
from services.provider.dialects.table import DIALECTS, unfit
from services.provider.tokens import of_chat
from tests.unit.provider.test_strange_answers import STRANGE, changed, places

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
OPENAI: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": [
            {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
             "extra_content": {"google": {"thought_signature": "s"}}},
        ], "reasoning_content": "r"},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False, "max_tokens": 5, "max_completion_tokens": 6, "temperature": 1, "top_p": 0.5,
    "stop": ["x"], "seed": 1,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    "reasoning_effort": "low", "stream": True, "stream_options": {"include_usage": True}, "user": "u", "metadata": {"a": "b"},
    "logit_bias": {"1": 1}, "service_tier": "auto", "presence_penalty": 0.5, "n": 1, "logprobs": False, "modalities": ["text"],
}  # fmt: skip
ANTHROPIC: dict[str, Any] = {
    "model": "m", "max_tokens": 5,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "tool_use", "id": "i", "name": "n", "input": {"a": 1}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "x"}], "is_error": True},
            {"type": "document", "source": {"type": "text", "data": "d"}},
        ]},
    ],
    "tools": [{"name": "n", "description": "d", "input_schema": SCHEMA, "type": "custom"}],
    "tool_choice": {"type": "tool", "name": "n", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u"}, "stop_sequences": ["x"], "temperature": 0.5, "top_p": 0.5, "top_k": 4, "stream": True,
    "service_tier": "auto", "context_management": {}, "inference_geo": "eu",
}  # fmt: skip
DOORS: dict[str, tuple[Door, dict[str, Any]]] = {"openai": (OpenAIDoor(), OPENAI), "anthropic": (AnthropicDoor(), ANTHROPIC)}


def read(door: Door, body: Any) -> Asked | None:
    """The request; None for one that is refused with words."""
    try:
        return door.read(body)
    except Unreadable as error:
        assert str(error)  # noqa: PT017 - most of them are refused, and either is right
        return None


@pytest.mark.parametrize("name", DOORS)
def test_the_whole_request_is_read(name: str) -> None:
    """Every field that the tests below bend is one that the door knows."""
    door, body = DOORS[name]
    asked = door.read(body)
    assert asked.stream
    assert asked.user == "u"
    assert unfit(name, asked.chat) == ""
    known = {"openai": {"logit_bias"}, "anthropic": {"inference_geo"}}
    assert set(asked.chat.extra[name]) == known[name]


@pytest.mark.parametrize("name", DOORS)
@given(data=st.data(), other=STRANGE)
def test_a_request_with_something_strange_in_it(name: str, data: st.DataObject, other: Any) -> None:
    """One value is of another kind than the vendor says: read or refused, counted, and written in every dialect that can say it."""
    door, body = DOORS[name]
    path = data.draw(st.sampled_from(list(places(body))))
    asked = read(door, changed(body, path, other))
    if asked is not None:
        assert of_chat(asked.chat) > 0
        for dialect in DIALECTS:
            unfit(dialect, asked.chat)


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize(
    "body", [None, [], 5, "x", {}, {"model": "m"}, {"model": "m", "messages": {}}, {"model": "", "messages": [{}]}]
)
def test_what_is_no_request(name: str, body: Any) -> None:
    """Refused, never raised."""
    assert read(DOORS[name][0], body) is None


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_but_messages_is_read_as_with_a_field_that_says_nothing(stream: bool) -> None:
    """The short way of most requests gives what the long one does."""
    body = {
        "model": "m",
        "stream": stream,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }
    assert OpenAIDoor().read(body) == OpenAIDoor().read({**body, "service_tier": "auto"})
