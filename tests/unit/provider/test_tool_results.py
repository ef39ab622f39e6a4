"""What a tool gave: texts, pictures and documents in their order, to every dialect as it takes them."""

from typing import Any

import pytest

from services.provider.chat import Chat
from services.provider.dialects.anthropic import reading as anthropic_reading
from services.provider.dialects.anthropic import requests as anthropic
from services.provider.dialects.asked import Unreadable
from services.provider.dialects.base import Unsupported
from services.provider.dialects.gemini import requests as gemini
from services.provider.dialects.ollama import requests as ollama
from services.provider.dialects.openai import reading as openai_reading
from services.provider.dialects.openai import requests as openai
from services.provider.dialects.responses import reading as responses_reading

GIVEN: list[Any] = [
    {"type": "text", "text": "Ada"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    {"type": "text", "text": "Bob", "cache_control": {"type": "ephemeral"}},
]
DOCUMENT = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "a"}
SEEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def _given(*content: Any) -> Chat:
    """A conversation at Anthropic's door whose last message is what a tool gave."""
    call = {"type": "tool_use", "id": "1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": list(content)}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return anthropic_reading.read({"model": "m", "max_tokens": 9, "messages": messages}).chat


def test_what_a_tool_gave_arrives_in_its_order() -> None:
    """At Claude block by block, with its marks; in a dialect of words alone each text is a line, so that no two become one word."""
    chat = _given(*GIVEN)
    assert anthropic.write(chat, "claude")["messages"][-1]["content"][0]["content"] == GIVEN
    *_, result, shown = openai.write(chat, "gpt")["messages"]
    assert (result["content"], shown) == ("Ada\nBob", {"role": "user", "content": [SEEN]})
    assert chat.needs == {"vision"}
    said = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "Ada"}, {"type": "text", "text": "Bob"}]}
    again = openai_reading.read({"model": "m", "messages": [*openai.write(chat, "gpt")["messages"][:2], said]}).chat
    assert openai.write(again, "gpt")["messages"][-1]["content"] == "Ada\nBob"
    output = [{"type": "input_text", "text": "Ada"}, {"type": "input_text", "text": "Bob"}]
    item = {"type": "function_call_output", "call_id": "1", "output": output}
    again = responses_reading.read({"model": "m", "input": [item]}).chat
    assert openai.write(again, "gpt")["messages"][0]["content"] == "Ada\nBob"


def test_a_document_that_a_tool_gave_is_anthropics() -> None:
    """It goes to Claude as it came, and is refused by its name elsewhere."""
    chat = _given({"type": "text", "text": "read:"}, DOCUMENT)
    assert anthropic.write(chat, "claude")["messages"][-1]["content"][0]["content"][1] == DOCUMENT
    for write in (openai.write, gemini.write, ollama.write):
        with pytest.raises(Unsupported, match="a part of type 'document'"):
            write(chat, "m")
    with pytest.raises(Unreadable, match="may hold text, images and documents"):
        _given({"type": "tool_use", "id": "2", "name": "look", "input": {}})
