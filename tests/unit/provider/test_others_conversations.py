"""What OpenAI takes and others refuse, in conversations that another model began or was meant for, is put as they take it."""

import re
from typing import Any

import pytest

from services.provider.chat import Chat, Message, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.anthropic import requests
from services.provider.dialects.gemini import requests as gemini
from services.provider.dialects.ollama import requests as ollama
from services.provider.dialects.openai import requests as openai

# of Anthropic, OpenAI, Kimi, OpenAI's Responses, and one that is too long
IDS = ["toolu_01Qimu3Y5DwauzoDUuBv2DmZ", "call_1", "functions.weather:0", "fc_1|call_2", "x" * 65]


def body_of(*calls: tuple[str, str], tools: tuple[Tool, ...] = (), **fields: Any) -> dict[str, Any]:
    """The request of a conversation with these calls, by id and name, and their results."""
    called = Message(Role.ASSISTANT, tuple(ToolCall(call_id, name, "{}") for call_id, name in calls))
    results = tuple(Message(Role.TOOL, (ToolResult(call_id, "20"),)) for call_id, _ in calls)
    return requests.write(Chat((Message(Role.USER, (Text("Hi"),)), called, *results), tools, **fields), "claude-haiku-4-5")


@pytest.mark.parametrize("call_id", IDS)
def test_ids_of_others(call_id: str) -> None:
    """Those that are not taken become others, the same for call and result; those that are stay."""
    _, called, results = body_of((call_id, "weather"))["messages"]
    found = called["content"][0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", found)
    assert results["content"][0]["tool_use_id"] == found
    assert (found == call_id) == (call_id in IDS[:2])


def test_ids_stay_apart() -> None:
    """Also those that differ only where something is not taken."""
    _, called, _ = body_of(("f.x:0", "a"), ("f_x:0", "a"), ("f.x.0", "a"))["messages"]
    assert len({call["id"] for call in called["content"]}) == 3


def test_calls_without_tools() -> None:
    """A last turn that may call nothing: the tools that were called are named, and may not be called."""
    body = body_of(("1", "weather"), ("2", "time"), ("3", "weather"))
    assert [tool["name"] for tool in body["tools"]] == ["weather", "time"]
    assert body["tool_choice"] == {"type": "none"}
    mine = body_of(("1", "weather"), tools=(Tool("time"),))
    assert ([tool["name"] for tool in mine["tools"]], "tool_choice" in mine) == (["time"], False)
    plain = requests.write(Chat((Message(Role.USER, (Text("Hi"),)),)), "claude-haiku-4-5")
    assert not {"tools", "tool_choice"} & plain.keys()


@pytest.mark.parametrize("blank", ["", "\n\n", " \t\u2003"])
def test_words_that_say_nothing(blank: str) -> None:
    """Others write blank lines before a call, and say them again with it."""
    messages = (Message(Role.USER, (Text("Hi"),)), Message(Role.ASSISTANT, (Text(blank), ToolCall("1", "weather", "{}"))))
    result = Message(Role.TOOL, (ToolResult("1", "20"), Text(blank)))
    body = requests.write(Chat((*messages, result)), "claude-haiku-4-5")
    assert [[block["type"] for block in message["content"]] for message in body["messages"]] == [
        ["text"],
        ["tool_use"],
        ["tool_result"],
    ]


def test_instructions_alone() -> None:
    """Nobody has said anything yet: the instructions are the question."""
    chat = Chat((Message(Role.SYSTEM, (Text("Be"),)), Message(Role.SYSTEM, (Text(" brief."),))))
    body = requests.write(chat, "claude-haiku-4-5")
    words = [{"type": "text", "text": "Be"}, {"type": "text", "text": " brief."}]
    assert (body["messages"], "system" in body) == ([{"role": "user", "content": words}], False)
    googles = gemini.write(chat, "gemini-2.5-flash")
    assert googles == {"contents": [{"role": "user", "parts": [{"text": "Be"}, {"text": " brief."}]}]}
    said = requests.write(Chat((*chat.messages, Message(Role.USER, (Text("Hi"),)))), "claude-haiku-4-5")
    assert (said["system"], len(said["messages"])) == (words, 1)


def test_a_tool_that_failed() -> None:
    """Said in words where the dialect has no mark for it."""
    failed = Message(Role.TOOL, (ToolResult("1", "no such city", is_error=True), ToolResult("2", "20")))
    for dialect in (openai, ollama):
        said = dialect.write(Chat((Message(Role.USER, (Text("Hi"),)), failed)), "m")["messages"][1:]
        assert [message["content"] for message in said] == ["Error: no such city", "20"]


@pytest.mark.parametrize("before", [(), (Message(Role.SYSTEM, (Text("Be kind."),)),), (Message(Role.USER, (Text(" "),)),)])
def test_an_assistant_who_speaks_first(before: tuple[Message, ...]) -> None:
    """A greeting, or a call when the beginning was cut off: OpenAI takes it, where others want a user before one stands there."""
    greeting = Message(Role.ASSISTANT, (Text("Hi!"),))
    chat = Chat((*before, greeting, Message(Role.USER, (Text("Hello"),))))
    roles = [message["role"] for message in requests.write(chat, "claude")["messages"]]
    assert roles == ["user", "assistant", "user"]
    contents = gemini.write(chat, "gemini-2.5-flash")["contents"]
    assert [turn["role"] for turn in contents] == ["user", "model", "user"]
    assert [message["role"] for message in openai.write(chat, "gpt")["messages"]][-2:] == ["assistant", "user"]
