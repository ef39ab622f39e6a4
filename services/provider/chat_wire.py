"""Conversations of the contract to the neutral form and back."""

import base64
from collections.abc import Iterable

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from tooloo.provider.v1 import chat_pb2

from mesh import errors
from services.provider.chat import (
    Answer,
    Chat,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)


def from_chat(
    messages: Iterable[chat_pb2.ChatMessage],
    tools: Iterable[chat_pb2.ToolDefinition],
    generation: chat_pb2.GenerationConfig,
) -> Chat:
    """The conversation of a request; INVALID_ARGUMENT for a message without content or a limit that is no number."""
    return Chat(
        messages=tuple(_checked(index, message) for index, message in enumerate(messages)),
        tools=tuple(Tool(tool.name, tool.description, plain(tool.parameters)) for tool in tools),
        tool_choice=generation.tool_choice,
        max_output_tokens=generation.max_output_tokens or None,
        temperature=generation.temperature if generation.HasField("temperature") else None,
        top_p=generation.top_p if generation.HasField("top_p") else None,
        stop=tuple(generation.stop),
        seed=generation.seed if generation.HasField("seed") else None,
        schema=plain(generation.response_schema) if generation.HasField("response_schema") else None,
        reasoning_effort=generation.reasoning_effort,
    )


def plain(struct: Struct) -> dict[str, object]:
    """A Struct as JSON values; whole numbers are integers again, for a JSON Schema may ask for them.

    Sorted by name: a Struct has no order, and what comes again must look the same, here and in the provider's cache.
    """
    return {name: _whole(value) for name, value in sorted(MessageToDict(struct).items())}


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {name: _whole(item) for name, item in sorted(value.items())} if isinstance(value, dict) else value


def _checked(index: int, message: chat_pb2.ChatMessage) -> Message:
    found = from_message(message)
    if not found.parts:
        raise errors.invalid(f"messages[{index}].text", "say something: give text, or parts")
    return found


def from_message(message: chat_pb2.ChatMessage) -> Message:
    """What one speaker says: the words first, then the parts; but before the words what a model thought before it spoke."""
    words: tuple[Part, ...] = (Text(message.text),) if message.text else ()
    parts = tuple(map(_part, message.parts))
    spoken = next((place for place, part in enumerate(parts) if not isinstance(part, Reasoning)), len(parts))
    return Message(Role(message.role or Role.USER), (*parts[:spoken], *words, *parts[spoken:]))


def _part(part: chat_pb2.ChatPart) -> Part:
    match part.WhichOneof("kind"):
        case "image":
            return Image(part.image.media_type, base64.b64encode(part.image.data).decode(), part.image.url)
        case "tool_call":
            call = part.tool_call
            return ToolCall(call.call_id, call.name, call.arguments, call.signature)
        case "tool_result":
            return ToolResult(part.tool_result.call_id, part.tool_result.text, part.tool_result.is_error)
        case "reasoning":
            return Reasoning(part.reasoning.text, part.reasoning.signature)
        case _:
            return Text(part.text)


def to_answer(answer: Answer) -> chat_pb2.ChatMessage:
    """The answer as a message that may be given back with the next request: its words in `text`, all else in `parts`."""
    words = "".join(part.text for part in answer.parts if isinstance(part, Text))
    parts = [told for part in answer.parts if (told := _told(part)) is not None]
    return chat_pb2.ChatMessage(role=chat_pb2.ROLE_ASSISTANT, text=words, parts=parts)


def _told(part: Part) -> chat_pb2.ChatPart | None:
    if isinstance(part, ToolCall):
        call = chat_pb2.ToolCallPart(call_id=part.call_id, name=part.name, arguments=part.arguments, signature=part.signature)
        return chat_pb2.ChatPart(tool_call=call)
    if isinstance(part, Reasoning):
        return chat_pb2.ChatPart(reasoning=chat_pb2.ReasoningPart(text=part.text, signature=part.signature))
    if isinstance(part, Image):
        return chat_pb2.ChatPart(image=_image(part))
    return None


def _image(image: Image) -> chat_pb2.ImagePart:
    if image.url:
        return chat_pb2.ImagePart(media_type=image.media_type, url=image.url)
    return chat_pb2.ImagePart(media_type=image.media_type, data=base64.b64decode(image.data))


def to_usage(usage: Usage) -> chat_pb2.TokenUsage:
    """Tokens of a call."""
    return chat_pb2.TokenUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )
