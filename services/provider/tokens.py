"""How many tokens a text may be, without any model's own tokenizer: an estimate that reservations and the echo model rest on."""

import json

from msgspec.structs import replace

from services.provider.assembling import Assembler
from services.provider.chat import Answer, Chat, Foreign, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from services.provider.sizes import CHARACTERS_PER_TOKEN, of_characters, size, size_of
from services.provider.texts import Item, Texts

# what the vendors' formulas give for a picture of about a megapixel
TOKENS_PER_IMAGE = 1200
_PER_MESSAGE = 4


def of_chat(chat: Chat) -> int:
    """Tokens of everything that a request says: messages, tools and the wished schema."""
    parts = [part for message in chat.messages for part in message.parts]
    characters = sum(map(_characters, parts))
    characters += sum(size(tool.name) + size(tool.description) + len(json.dumps(tool.parameters)) for tool in chat.tools)
    characters += len(json.dumps(chat.schema)) if chat.schema else 0
    return of_characters(characters) + _images(parts) * TOKENS_PER_IMAGE + _PER_MESSAGE * len(chat.messages)


def of_texts(texts: Texts) -> int:
    """Tokens of texts that vectors are to be made of; ids of tokens are counted."""
    return sum(map(of_item, texts.items))


def of_item(item: Item) -> int:
    """Tokens of one of them."""
    return of_characters(size(item)) if isinstance(item, str) else len(item)


def of_beginning(chat: Chat) -> int:
    """Tokens of what may be cached: the same chat without anything that was said after the instructions."""
    if not (beginning := chat.beginning):
        return 0
    first = tuple(part for part in beginning if isinstance(part, Message))
    return of_chat(replace(chat, messages=first, schema=None))


def of_answer(answer: Answer) -> int:
    """Tokens of what a model said: for a provider that tells no usage."""
    return of_characters(sum(map(_characters, answer.parts)))


def to_charge(
    content: Chat | Texts, answer: Assembler, *, finished: bool, characters_per_token: float = CHARACTERS_PER_TOKEN
) -> tuple[Usage | None, bool]:
    """Tokens to pay for an answer as far as it came, and whether they are an estimate; None when nothing came.

    Counts that a stream tells before its end (Anthropic's first message says 1 of output) are right as far as they go, so what came
    is counted, too; and who tells no output of an answer that has words, or no input, has not counted them.
    """
    if not finished and not answer.begun and answer.usage is None:
        return None, False
    if isinstance(content, Texts):
        # counted batch by batch as they came
        return answer.usage, answer.vectors is not None and answer.vectors.estimated
    told, said = answer.usage or Usage(), of_characters(answer.characters, characters_per_token)
    whole = told.output_tokens > 0 if finished else told.output_tokens >= max(said, 1)
    if told.input_tokens and (whole or (finished and not said)):
        return told, False
    return replace(told, input_tokens=told.input_tokens or of_chat(content), output_tokens=max(said, told.output_tokens)), True


def _images(parts: list[Part]) -> int:
    shown = (part.others if isinstance(part, ToolResult) else (part,) for part in parts)
    return sum(isinstance(part, Image) for each in shown for part in each)


def _characters(part: Part) -> int:
    if isinstance(part, Text | Reasoning):
        return size(part.text)
    if isinstance(part, ToolResult):
        return size(part.text) + sum(map(_characters, part.others))
    if isinstance(part, ToolCall):
        return size(part.name) + size(part.arguments)
    return size_of(part.value) if isinstance(part, Foreign) else 0
