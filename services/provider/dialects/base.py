"""What every dialect offers to the one who calls providers: it writes requests and reads answers, streams and errors. No I/O."""

import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec.json
from msgspec import DecodeError, Struct
from msgspec.structs import replace

from services.provider.chat import Answer, Chat, Delta, Foreign, Image, Role, ToolResult
from services.provider.dialects.halves import mended_value
from services.provider.failure import CallFailedError, Failure, FailureKind
from services.provider.target import Target
from services.provider.texts import Batch, Texts, Vector, Vectors

JSON = "application/json"
# what stands before an assistant who speaks first, a greeting or a call: OpenAI takes that, Anthropic and Gemini want a user before
FIRST_TURN = "(You speak first.)"
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder().decode
_MOST_TOKENS = 1_000_000_000
# hints that may change the answer a little, or its price: a caller is told when they did not go along
WISHES = frozenset({"context_management", "output_config", "service_tier", "verbosity"})


class Outgoing(Struct, frozen=True):
    """An HTTP POST without its secret: where to, headers, body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Unsupported(ValueError):
    """A conversation that a dialect cannot carry; the message names the field."""


class StreamReader(ABC):
    """Reads one stream: bytes as they come, cut anywhere, give deltas."""

    @abstractmethod
    def feed(self, data: bytes) -> Iterator[Delta]:
        """The deltas that these bytes complete, those before an error too: CallFailedError when one is told, or cannot be read."""

    @abstractmethod
    def end(self) -> list[Delta]:
        """What is left when the connection ended; CallFailedError (BROKEN_STREAM) when the end was not said before."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the stream said that nothing follows."""


class Dialect(ABC):
    """One provider's way to speak."""

    name: str
    # whether a stream is server-sent events
    streams_events = True
    # what it takes in one call for vectors
    batch = Batch()

    @abstractmethod
    def request(self, chat: Chat, target: Target, *, stream: bool) -> Outgoing:
        """The HTTP request without the key; Unsupported for what the dialect cannot say."""

    def embedding(self, texts: Texts, target: Target) -> Outgoing:
        """The HTTP request for vectors, without the key; Unsupported for what the dialect cannot say."""
        raise Unsupported(f"the {self.name} dialect has no call for embeddings; name a model of another provider")

    def vectors(self, body: bytes) -> Vectors:
        """The vectors in a body; CallFailedError (MALFORMED) when they are none."""
        raise malformed("this dialect has no call for embeddings")

    @abstractmethod
    def body(self, chat: Chat, target: Target) -> dict[str, Any]:
        """The body as the dialect has it, without `stream`; a provider's manner changes it after that."""

    def left_out(self, chat: Chat, target: Target) -> list[str]:
        """What of a conversation does not go along, or not as given, by OpenAI's names; what is only a wish is not refused."""
        drop = target.manner.drop
        dropped = [name for name in self.body(chat, target) if name in drop] if drop else []
        return [*dropped, *self.without_word(chat, target.model)]

    def without_word(self, chat: Chat, model: str) -> Iterator[str]:
        """That which the dialect itself has no word for."""
        if any(tool.strict for tool in chat.tools):
            yield "tools.strict"
        yield from unknown_of(chat, self.name)

    @abstractmethod
    def credentials(self, target: Target) -> dict[str, str]:
        """The header that carries the key; empty without one."""

    @abstractmethod
    def answer(self, body: bytes) -> Answer:
        """The answer in a body; CallFailedError (MALFORMED) when it is none."""

    @abstractmethod
    def reader(self) -> StreamReader:
        """A reader for one stream."""

    @abstractmethod
    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """The failure that a status of 400 or more and its body mean; `retry_after` comes from the headers elsewhere."""


def encode(value: Any) -> str:
    """JSON as a text."""
    return _ENCODE(value).decode()


def dump(value: Any) -> bytes:
    """JSON as it goes over the wire."""
    return _ENCODE(value)


def load(body: bytes | str) -> dict[str, Any]:
    """A JSON object; CallFailedError (MALFORMED) for anything else."""
    try:
        try:
            value = _DECODE(body)
        except (DecodeError, UnicodeError):
            # far ends write what is not quite JSON: half of a surrogate pair, an infinite number
            value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed("the answer is no JSON") from error
    if not isinstance(value, dict):
        raise malformed("the answer is no JSON object")
    return value


def malformed(detail: str) -> CallFailedError:
    """An answer that is not what the dialect says."""
    return CallFailedError(Failure(FailureKind.MALFORMED, detail))


def broken(detail: str = "the stream ended before its end was said") -> CallFailedError:
    """A stream that ended too early."""
    return CallFailedError(Failure(FailureKind.BROKEN_STREAM, detail))


def own_extra(chat: Chat | Texts, dialect: str) -> Mapping[str, Any]:
    """The fields that only this dialect knows; Unsupported when there are such of another dialect."""
    for other, fields in chat.extra.items():
        if other != dialect and fields:
            raise Unsupported(f"{', '.join(sorted(fields))}: only providers that speak the {other} dialect know this field")
    return {**chat.hints.get(dialect, {}), **chat.extra.get(dialect, {})}


def with_a_turn(chat: Chat) -> Chat:
    """The same chat; instructions alone are said by the user: OpenAI answers them, others refuse a request without a turn."""
    if any(message.role is not Role.SYSTEM for message in chat.messages):
        return chat
    return replace(chat, messages=tuple(replace(message, role=Role.USER) for message in chat.messages))


def unknown_of(chat: Chat, dialect: str) -> Iterator[str]:
    """Wishes that no dialect but OpenAI's has a word for, and those that only another dialect knows."""
    if any(message.name for message in chat.messages):
        yield "messages.name"
    if any(isinstance(part, Image) and part.detail not in ("", "auto") for message in chat.messages for part in message.parts):
        yield "image_url.detail"
    yield from unknown_wishes(chat, dialect)


def unknown_wishes(chat: Chat, dialect: str) -> Iterator[str]:
    """What only another dialect knows and a caller would like to know of: hints about the answer, and fields of tools."""
    for other, hints in chat.hints.items():
        if other != dialect:
            yield from (name for name in hints if name in WISHES)
    for tool in chat.tools:
        for other, fields in tool.extra.items():
            if other != dialect:
                yield from (f"tools.{name}" for name in fields)


def one_call_at_most(chat: Chat, dialect: str) -> None:
    """Unsupported for a wish that whoever acts on the answer counts on, in a dialect that has no word for it."""
    if chat.parallel_tools is False and chat.tools and chat.tool_choice != "none":
        raise Unsupported(f"parallel_tool_calls: the {dialect} dialect cannot keep a model to one call at a time")


def own_part(part: Foreign, dialect: str) -> dict[str, Any]:
    """A part that only this dialect knows; Unsupported when it is another's."""
    if part.dialect != dialect:
        kind = part.value.get("type", "unnamed")
        raise Unsupported(f"a part of type {kind!r}: only providers that speak the {part.dialect} dialect know it")
    return dict(part.value)


def words_of_result(part: ToolResult) -> str:
    """What a tool gave, for a dialect that has no word for one that failed."""
    return f"Error: {part.text}" if part.is_error and not part.text.startswith("Error") else part.text


def marked(made: dict[str, Any], cache: str) -> dict[str, Any]:
    """A part with the mark that asks to keep the prompt up to here, as Anthropic has it; as it is when nothing is asked."""
    if not cache:
        return made
    return {**made, "cache_control": {"type": "ephemeral", **({"ttl": cache} if cache != "5m" else {})}}


def unmarked(chat: Chat) -> Chat:
    """The same without such marks."""
    messages = tuple(replace(each, parts=tuple(_without_mark(part) for part in each.parts)) for each in chat.messages)
    return replace(chat, messages=messages, tools=tuple(_without_mark(tool) for tool in chat.tools))


def _without_mark(part: Any) -> Any:
    return replace(part, cache="") if getattr(part, "cache", "") else part


def parsed(text: str) -> Any:
    """The value of a JSON text that a model or a tool wrote; ValueError or RecursionError for what is none."""
    value = json.loads(text)
    # few write any character as an escape
    return mended_value(value) if "\\u" in text else value


def arguments_of(text: str) -> dict[str, Any]:
    """A tool call's arguments as an object; text that is none goes under one name, so that the model sees what it wrote."""
    if not text.strip():
        return {}
    try:
        value = parsed(text)
    except (ValueError, RecursionError):
        return {"invalid_json": text}
    return value if isinstance(value, dict) else {"value": value}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none for null; CallFailedError (MALFORMED) for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed("something else stands where a list of objects belongs")
    return value


def words_of(texts: Texts, dialect: str) -> list[str]:
    """The texts as words; Unsupported when they are the ids of tokens, or when fields of another dialect came with them."""
    own_extra(texts, dialect)
    if not texts.words:
        raise Unsupported(f"input: the {dialect} dialect takes words and no token ids")
    return texts.words


def vector(value: Any) -> Vector:
    """A list of numbers as a vector of 32-bit floats; CallFailedError (MALFORMED) for anything else."""
    try:
        if isinstance(value, list):
            return array("f", value)
    except (TypeError, OverflowError):
        pass
    raise malformed("something else stands where a list of numbers belongs")


def whole(value: Any) -> int:
    """A count of tokens as an answer gives it: an integer of 0 or more, else 0; one that no model could count to is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS else 0


def texts(parts: Iterable[Any]) -> str:
    """The words of parts, one after the other."""
    return "".join(part.text for part in parts if hasattr(part, "text"))
