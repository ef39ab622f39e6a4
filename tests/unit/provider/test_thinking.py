"""When a model of Anthropic is asked to think: not where the provider refuses it, whoever made the conversation."""

from typing import Any

import pytest

from services.provider.chat import Chat, Foreign, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.anthropic import requests

BUDGETED, ADAPTIVE = "claude-haiku-4-5", "claude-opus-4-6"
QUESTION = Message(Role.USER, (Text("How warm is it?"),))
CALL = ToolCall("c", "weather", "{}")
RESULT = Message(Role.USER, (ToolResult("c", "20"),))
TOOL = Tool("weather")


def body_of(model: str, *said: Part, **fields: Any) -> dict[str, Any]:
    """The request of a conversation in which the model said this, if anything, and had a result."""
    messages = (QUESTION, Message(Role.ASSISTANT, said), RESULT) if said else (QUESTION,)
    return requests.write(Chat(messages, (TOOL,), reasoning_effort="high", max_output_tokens=20_000, **fields), model)


ENABLED = {"type": "enabled", "budget_tokens": 16_384}


@pytest.mark.parametrize(
    "said",
    [(), (Text("Hm."),), (Reasoning("Hm.", "s"), CALL), (Foreign("anthropic", {"type": "redacted_thinking", "data": "x"}), CALL)],
)
def test_it_thinks(said: tuple[Part, ...]) -> None:
    """At first, after words, and on from its own thoughts."""
    assert body_of(BUDGETED, *said)["thinking"] == ENABLED


@pytest.mark.parametrize("said", [(CALL,), (Text("Hm."), CALL), (Reasoning("Hm."), CALL)])
def test_it_does_not_think_on_from_thoughts_that_are_not_here(said: tuple[Part, ...]) -> None:
    """A call that another model made, or that comes back without the signature; models that divide their thinking may."""
    assert "thinking" not in body_of(BUDGETED, *said)
    assert body_of(ADAPTIVE, *said)["thinking"] == {"type": "adaptive"}


def test_earlier_turns_do_not_matter() -> None:
    """Calls of before the last answer are done."""
    messages = (QUESTION, Message(Role.ASSISTANT, (CALL,)), RESULT, Message(Role.ASSISTANT, (Text("20."),)), QUESTION)
    assert requests.write(Chat(messages, (TOOL,), reasoning_tokens=2048), BUDGETED)["thinking"]["budget_tokens"] == 2048


@pytest.mark.parametrize("first", [Reasoning("Hm.", "s"), Text("Hm.")])
def test_thoughts_stand_before_the_first_of_many_calls(first: Part) -> None:
    """The model thinks once and calls again and again; words beside a result are no new question."""
    beside = Message(Role.USER, (ToolResult("c", "20"), Text("Be quick.")))
    messages = (QUESTION, Message(Role.ASSISTANT, (first, CALL)), beside, Message(Role.ASSISTANT, (CALL,)), RESULT)
    body = requests.write(Chat(messages, (TOOL,), reasoning_tokens=2048), BUDGETED)
    assert ("thinking" in body) == isinstance(first, Reasoning)


@pytest.mark.parametrize("choice", ["required", "=weather"])
def test_it_does_not_think_where_it_must_call(choice: str) -> None:
    """How hard to try can be said all the same where there is a word for it."""
    assert "thinking" not in body_of(BUDGETED, tool_choice=choice)
    adaptive = body_of(ADAPTIVE, tool_choice=choice)
    assert (adaptive.get("thinking"), adaptive["output_config"]) == (None, {"effort": "high"})
    assert body_of(BUDGETED, tool_choice="auto")["thinking"] == ENABLED
