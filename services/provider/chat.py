"""A conversation with a model in a neutral form: what every dialect is read into and written from."""

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    # it needs this module
    from services.provider.texts import Vectors


class Role(enum.IntEnum):
    """Who speaks; the numbers are those of the contract."""

    SYSTEM = 1
    USER = 2
    ASSISTANT = 3
    TOOL = 4


class Finish(enum.IntEnum):
    """Why an answer ended; the numbers are those of the contract."""

    STOP = 1
    LENGTH = 2
    TOOL_CALLS = 3
    CONTENT_FILTER = 4


class Text(Struct, frozen=True):
    """Words. `cache` on any part asks the provider to keep the prompt up to here: "5m" or "1h"; a hint that others may ignore.

    `refused`: the model says why it does not answer, where its dialect keeps that apart. `citations` are what the model names as
    the sources of these words, as its dialect has them.
    """

    text: str
    cache: str = ""
    refused: bool = False
    citations: tuple[Mapping[str, Any], ...] = ()


class Image(Struct, frozen=True):
    """A picture: its bytes in base64, or where to fetch it; exactly one of them."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""
    cache: str = ""


class ToolCall(Struct, frozen=True):
    """The model wants a tool called; `arguments` is JSON text as the model wrote it, which may be broken.

    `signature` must go back to the model unchanged (Gemini's thought signature).
    """

    call_id: str
    name: str
    arguments: str
    signature: str = ""
    cache: str = ""


class Reasoning(Struct, frozen=True):
    """Thoughts that a model shows; `signature` must go back to it unchanged."""

    text: str
    signature: str = ""


class Foreign(Struct, frozen=True):
    """A part that only its own dialect knows (a file, audio, a cache mark …): goes to that dialect as it came, else is refused."""

    dialect: str
    value: Mapping[str, Any]


class ToolResult(Struct, frozen=True):
    """What a tool gave: a text, or parts in their order."""

    call_id: str
    content: "str | tuple[Text | Image | Foreign, ...]"
    is_error: bool = False
    cache: str = ""

    @property
    def parts(self) -> "tuple[Text | Image | Foreign, ...]":
        """The parts; a text is one."""
        return (Text(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """Its words; each text begins a line, for two that follow each other are not one word."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def others(self) -> "tuple[Image | Foreign, ...]":
        """What is no text."""
        return tuple(part for part in self.parts if not isinstance(part, Text))


Part = Text | Image | ToolCall | ToolResult | Reasoning | Foreign


class Message(Struct, frozen=True):
    """What one speaker says at once. `name` tells speakers of one role apart, where a dialect has a word for it."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""


class Tool(Struct, frozen=True):
    """A function that the model may ask for; `parameters` is a JSON Schema.

    `extra` are fields that only the caller's dialect knows, by dialect: others go without them.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None
    cache: str = ""
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Chat(Struct, frozen=True):
    """A request for an answer; None and empty mean: the provider's default.

    `tool_choice` is "auto", "none", "required" or "=" and a tool's name. `schema` is a JSON Schema that the answer must follow
    ({}: any JSON). `reasoning_tokens` is how much thinking is allowed; 0 forbids it. `extra` are fields of the caller's dialect
    that the neutral form has no word for, by dialect: a call to another dialect is refused by their names. `hints` are such fields
    that change nothing about the answer: another dialect goes without them.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""
    parallel_tools: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    schema_name: str = ""
    schema_strict: bool | None = None
    reasoning_effort: str = ""
    reasoning_tokens: int | None = None
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The last words of the user: what the answer is about."""
        said = (message for message in reversed(self.messages) if message.role is Role.USER)
        return "".join(part.text for part in next(said, Message(Role.USER, ())).parts if isinstance(part, Text))

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that a model must have for it."""
        parts = [part for message in self.messages for part in message.parts]
        shown = (part.others if isinstance(part, ToolResult) else (part,) for part in parts)
        pictured = any(isinstance(part, Image) for each in shown for part in each)
        return frozenset({"tools"} if self.tools else ()) | frozenset({"vision"} if pictured else ())

    @property
    def thinks(self) -> bool:
        """Whether the model is asked to think before it answers."""
        return bool(self.reasoning_tokens) or self.reasoning_effort not in ("", "none", "minimal")

    @property
    def picture_bytes(self) -> int:
        """Characters of the pictures that came along."""
        parts = (part for message in self.messages for part in message.parts)
        return sum(len(part.data) for part in parts if isinstance(part, Image))

    @property
    def beginning(self) -> tuple[object, ...]:
        """What is likely to come again word for word, and so be cached: instructions before all else, and tools."""
        first = next((place for place, message in enumerate(self.messages) if message.role is not Role.SYSTEM), len(self.messages))
        return (*self.messages[:first], *self.tools)


class Usage(Struct, frozen=True):
    """Tokens of a call.

    `input_tokens` are all of the input, those read from and written to the provider's cache included; `output_tokens` all of the
    output, reasoning included: so each token counts once whatever the dialect says.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    # of those written to the cache, those that it keeps for an hour, which cost more
    hour_cache_tokens: int = 0
    # of the input, those of sound; of those read from the cache, those of sound
    audio_tokens: int = 0
    cached_audio_tokens: int = 0


NONE_USED = Usage()


class Answer(Struct, frozen=True):
    """A whole answer; `usage` is None when the provider told none. Who asked for vectors gets `vectors`, and no parts."""

    parts: tuple[Part, ...]
    finish: Finish
    usage: Usage | None = None
    model: str = ""
    stop_sequence: str = ""
    vectors: "Vectors | None" = None


class ToolCallDelta(Struct, frozen=True):
    """A piece of a tool call; the first piece of an `index` has id and name."""

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""


class Delta(Struct, frozen=True):
    """A piece of a streamed answer; any of its fields may be there.

    `usage` and `vectors` are the whole so far, never an increment. `signature` ends the thought it belongs to. `part` came whole.
    `refused`: `text` is why the model does not answer. `citation` belongs to the words before it; `ends`: words that follow are a
    part of their own.
    """

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    tool_call: ToolCallDelta | None = None
    part: Foreign | None = None
    finish: Finish | None = None
    usage: Usage | None = None
    model: str = ""
    stop_sequence: str = ""
    refused: bool = False
    vectors: "Vectors | None" = None
    citation: Mapping[str, Any] | None = None
    ends: bool = False


# pieces that came together
Deltas = Sequence[Delta]
