"""Dialects: what is written is read, a stream means the same wherever it is cut, and an early end is no answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.provider.assembling import assemble, pieces
from services.provider.chat import Answer, Chat, Delta, Finish, Foreign, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from services.provider.dialects.anthropic import answers as anthropic_answers
from services.provider.dialects.anthropic import reading as anthropic_reading
from services.provider.dialects.anthropic import requests as anthropic_requests
from services.provider.dialects.anthropic.streams import Writer as AnthropicWriter
from services.provider.dialects.base import StreamReader, Unsupported
from services.provider.dialects.openai import answers as openai_answers
from services.provider.dialects.openai import reading as openai_reading
from services.provider.dialects.openai import requests as openai_requests
from services.provider.dialects.openai.streams import Writer as OpenAIWriter
from services.provider.dialects.table import DIALECTS, unfit
from services.provider.failure import CallFailedError, FailureKind
from services.provider.target import Manner, Target
from tests.unit.provider.dialect_cases import answers, chats
from tests.unit.provider.test_framing import cut

PLACES = st.lists(st.integers(0, 100_000), max_size=25)


def parts_of(chat: Chat) -> list[Part]:
    """Everything that is said, in order; blank words say nothing."""
    parts = (part for message in chat.messages for part in message.parts)
    return [part for part in parts if not isinstance(part, Text) or part.text.strip()]


def feed(reader: StreamReader, data: bytes, places: list[int]) -> list[Delta]:
    """Every delta of a stream that comes in these pieces."""
    deltas = [delta for piece in cut(data, places) for delta in reader.feed(piece)]
    return [*deltas, *reader.end()]


def openai_stream(answer: Answer) -> bytes:
    """The stream of an answer as our door writes it for OpenAI's clients."""
    writer = OpenAIWriter("chatcmpl-1", 1, answer.model, with_usage=True)
    return b"".join(writer.write(delta) for delta in pieces(answer)) + writer.end()


def anthropic_stream(answer: Answer) -> bytes:
    """The same for Anthropic's."""
    writer = AnthropicWriter("msg_1", answer.model)
    return b"".join(writer.write(delta) for delta in pieces(answer)) + writer.end()


def gemini_stream(answer: Answer) -> bytes:
    """A Gemini stream of an answer, as its documentation has it: one part a response, counts growing."""
    events: list[dict[str, Any]] = []
    for part in answer.parts:
        if isinstance(part, Reasoning):
            made: dict[str, Any] = {"text": part.text, "thought": True}
        elif isinstance(part, ToolCall):
            made = {"functionCall": {"name": part.name, "args": json.loads(part.arguments), "id": part.call_id}}
        else:
            made = {"text": part.text if isinstance(part, Text) else ""}
        counts = {"promptTokenCount": 1, "candidatesTokenCount": 1}
        content = {"role": "model", "parts": [made]}
        events.append({"candidates": [{"content": content}], "usageMetadata": counts, "modelVersion": answer.model})
    usage, names = answer.usage, {Finish.LENGTH: "MAX_TOKENS", Finish.CONTENT_FILTER: "SAFETY"}
    assert usage is not None
    last = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
    }
    end = [{"finishReason": names.get(answer.finish, "STOP")}]
    events.append({"candidates": end, "usageMetadata": last, "modelVersion": answer.model})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)


def ollama_stream(answer: Answer) -> bytes:
    """An Ollama stream of an answer."""
    lines: list[dict[str, Any]] = []
    for part in answer.parts:
        if isinstance(part, Reasoning):
            message: dict[str, Any] = {"content": "", "thinking": part.text}
        elif isinstance(part, ToolCall):
            call = {"id": part.call_id, "function": {"name": part.name, "arguments": json.loads(part.arguments)}}
            message = {"content": "", "tool_calls": [call]}
        else:
            message = {"content": part.text if isinstance(part, Text) else ""}
        lines.append({"model": answer.model, "message": message, "done": False})
    usage = answer.usage
    assert usage is not None
    end = {"done": True, "done_reason": "length" if answer.finish is Finish.LENGTH else "stop"}
    counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    lines.append({"model": answer.model, "message": {"content": ""}, **end, **counts})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


STREAMS: dict[str, Callable[[Answer], bytes]] = {
    "openai": openai_stream,
    "anthropic": anthropic_stream,
    "gemini": gemini_stream,
    "ollama": ollama_stream,
}


def expected(dialect: str, answer: Answer) -> Answer:
    """What of an answer a dialect can tell: not all of them have words for every count."""
    usage, finish = answer.usage, answer.finish
    assert usage is not None
    if dialect == "anthropic":
        usage = type(usage)(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens)
    if dialect == "gemini":
        usage = type(usage)(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, 0, usage.reasoning_tokens)
    if dialect == "ollama":
        usage = type(usage)(usage.input_tokens, usage.output_tokens)
        finish = Finish.STOP if finish is Finish.CONTENT_FILTER else finish
    return Answer(answer.parts, finish, usage, answer.model)


@pytest.mark.parametrize("dialect", STREAMS)
@given(answer=answers(), places=PLACES)
def test_a_stream_means_the_same_wherever_it_is_cut(dialect: str, answer: Answer, places: list[int]) -> None:
    """The same answer in arbitrary pieces of bytes gives the same deltas, and they are the answer."""
    data = STREAMS[dialect](answer)
    whole = feed(DIALECTS[dialect].reader(), data, [])
    assert feed(DIALECTS[dialect].reader(), data, places) == whole
    assert assemble(whole) == expected(dialect, answer)


@pytest.mark.parametrize("dialect", STREAMS)
@given(answer=answers(), share=st.floats(0, 0.999))
def test_a_stream_that_ends_early_is_broken(dialect: str, answer: Answer, share: float) -> None:
    """Cut anywhere before the terminal marker it is never taken for an answer."""
    data = STREAMS[dialect](answer)
    markers = {"anthropic": b'data: {"type":"message_stop"}', "gemini": b'"finishReason"', "ollama": b'"done": true'}
    end = data.index(markers.get(dialect, b'"finish_reason":"'))
    reader = DIALECTS[dialect].reader()
    with pytest.raises(CallFailedError) as caught:
        feed(reader, data[: int(end * share)], [])
    # a line of JSON that was cut is Ollama's; the others end between events
    kinds = {FailureKind.BROKEN_STREAM, *([FailureKind.MALFORMED] if dialect == "ollama" else [])}
    assert caught.value.failure.kind in kinds


@given(answer=answers(thoughts=True))
def test_whole_answers_come_back(answer: Answer) -> None:
    """What our doors write is what our dialects read."""
    assert openai_answers.read(openai_answers.write(answer, "id", 1, answer.model)) == expected("openai", answer)
    assert anthropic_answers.read(anthropic_answers.write(answer, "id", answer.model)) == expected("anthropic", answer)


@given(chat=chats())
def test_requests_come_back(chat: Chat) -> None:
    """A conversation written for a provider and read at our door is the same conversation."""
    assert openai_reading.read(openai_requests.write(chat, "m")).chat == chat
    assume(parts_of(replace(chat, messages=tuple(message for message in chat.messages if message.role is not Role.SYSTEM))))
    read = anthropic_reading.read(anthropic_requests.write(chat, "claude-haiku-4-5")).chat
    # the dialect has no role for tools, and puts what one speaker says in a row together
    assert parts_of(read) == parts_of(chat)
    assert (read.tools, read.tool_choice or "", read.max_output_tokens, read.stop) == (
        chat.tools, chat.tool_choice, chat.max_output_tokens, chat.stop,
    )  # fmt: skip


@given(chat=chats(), stream=st.booleans())
def test_every_dialect_writes_json_and_no_key(chat: Chat, stream: bool) -> None:
    """Whatever is said becomes a body; the key stands in the credentials alone."""
    for name, dialect in DIALECTS.items():
        if unfit(name, chat):
            continue
        target = Target("p", "m", name, "https://api.example", "sk-very-secret")
        outgoing = dialect.request(chat, target, stream=stream)
        assert isinstance(json.loads(outgoing.body), dict)
        assert b"sk-very-secret" not in outgoing.body
        assert "sk-very-secret" not in f"{outgoing.url} {outgoing.headers} {target}"
        assert "sk-very-secret" in "".join(dialect.credentials(target).values())


def test_what_only_one_dialect_knows_is_refused_elsewhere_by_name() -> None:
    """Nothing is dropped in silence: the field's name, and who knows it."""
    chat = openai_reading.read({"model": "m", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"1": 5}}).chat
    assert unfit("openai", chat) == ""
    for other in ("anthropic", "gemini", "ollama"):
        assert "logit_bias" in unfit(other, chat)
    document = Chat((Message(Role.USER, (Foreign("anthropic", {"type": "document"}),)),))
    assert "'document'" in unfit("openai", document)
    with pytest.raises(Unsupported, match="presence_penalty"):
        anthropic_requests.write(Chat((Message(Role.USER, (Text("x"),)),), presence_penalty=0.5), "m")


def test_hints_go_along_only_where_they_are_understood() -> None:
    """Metadata and the like change no answer: other dialects go without them."""
    asked = openai_reading.read({"model": "m", "messages": [{"role": "user", "content": "x"}], "user": "ada", "store": True})
    assert openai_requests.write(asked.chat, "m")["user"] == "ada"
    assert all(unfit(name, asked.chat) == "" for name in DIALECTS)


def test_manners_of_a_provider() -> None:
    """Azure by settings: deployment in the address, version in the query, the bare key in its own header; Mistral's other names."""
    chat = Chat((Message(Role.USER, (Text("x"),)),), max_output_tokens=5, seed=7)
    azure = Manner(auth_header="api-key", api_version="2024-10-21")
    target = Target("azure", "gpt-5", "openai", "https://a.openai.azure.com/openai/deployments/{model}", "k", manner=azure)
    outgoing = DIALECTS["openai"].request(chat, target, stream=False)
    assert outgoing.url == "https://a.openai.azure.com/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21"
    assert DIALECTS["openai"].credentials(target) == {"api-key": "k"}
    mistral = Manner(rename={"max_completion_tokens": "max_tokens", "seed": "random_seed"}, drop=("stream_options",))
    body = json.loads(DIALECTS["openai"].request(chat, Target("m", "m", "openai", "https://x", manner=mistral), stream=True).body)
    assert (body["max_tokens"], body["random_seed"], "stream_options" in body) == (5, 7, False)


def test_results_of_tools_stand_together_before_what_the_user_says() -> None:
    """Anthropic wants all results of a turn in one message; OpenAI wants each as its own."""
    calls = (ToolCall("call_a", "f", "{}"), ToolCall("call_b", "g", "{}"))
    results = tuple(Message(Role.TOOL, (ToolResult(call.call_id, call.name),)) for call in calls)
    chat = Chat((Message(Role.USER, (Text("x"),)), Message(Role.ASSISTANT, calls), *results, Message(Role.USER, (Text("y"),))))
    written = anthropic_requests.write(chat, "m")["messages"]
    assert [message["role"] for message in written] == ["user", "assistant", "user"]
    assert [block["type"] for block in written[2]["content"]] == ["tool_result", "tool_result", "text"]
    roles = [message["role"] for message in openai_requests.write(chat, "m")["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]
