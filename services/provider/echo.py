"""What stands in when no provider is configured, and says so: the caller's words again, vectors of hashed words. Deterministic."""

import itertools
import math
import re
import zlib
from array import array
from collections import Counter

from services.provider.assembling import pieces
from services.provider.chat import Answer, Chat, Delta, Finish, Role, Text, Usage
from services.provider.registry import Registry
from services.provider.sizes import of_characters, size
from services.provider.texts import Texts, Vector, Vectors
from services.provider.tokens import of_chat, of_texts

DIALECT = "echo"
NOTICE = (
    "This is TooLoo's local echo model, not a language model: it stands in because no provider is configured. "
    "Set a key (for example OPENAI_API_KEY), add one with AddProviderKey, or start Ollama. You said: "
)
_LONGEST_ECHO = 2000
VECTORS_NOTICE = (
    "These vectors are TooLoo's local stand-in, not a language model's: hashed words, which find texts that share words and know "
    "nothing of their meaning. Set a key (for example OPENAI_API_KEY) or start Ollama, and name one of its embedding models."
)
_DIMENSIONS = 256
_WORD = re.compile(r"\w+|[^\w\s]")


def answer(chat: Chat, model: str) -> Answer:
    """What it is, and the last words of the user, cut to the wished length."""
    said = [part.text for message in chat.messages if message.role is Role.USER for part in message.parts if isinstance(part, Text)]
    text = NOTICE + (said[-1][:_LONGEST_ECHO] if said else "nothing")
    most = chat.max_output_tokens
    finish = Finish.STOP
    if most is not None and of_characters(size(text)) > most:
        text, finish = text[: int(most * 3.5)], Finish.LENGTH
    return Answer((Text(text),), finish, Usage(of_chat(chat), of_characters(size(text))), model)


def deltas(chat: Chat, model: str) -> list[Delta]:
    """The same, word by word."""
    whole = answer(chat, model)
    words = [word for part in whole.parts if isinstance(part, Text) for word in re.findall(r"\s*\S+\s*$|\s*\S+|\s+", part.text)]
    return [*(Delta(text=word, model=model) for word in words), pieces(whole)[-1]]


def vectors(texts: Texts, model: str) -> Vectors:
    """A vector of hashed words for each text."""
    made = tuple(_hashed(text, texts.dimensions or _DIMENSIONS) for text in texts.words)
    return Vectors(made, Usage(of_texts(texts)), model)


def _hashed(text: str, dimensions: int) -> Vector:
    """A unit vector of words and pairs of words with signs (Weinberger et al., "Feature Hashing", 2009).

    Another than features.hashed_embedding, which reads the first words of a prompt only and brings numpy into the process.
    """
    words = _WORD.findall(text.casefold())
    counts: Counter[int] = Counter()
    for word in [*words, *map(" ".join, itertools.pairwise(words))] or [text]:
        code = zlib.crc32(word.encode())
        counts[code % dimensions] += 1 if code >> 31 else -1
    # where every word met one of the other sign, something has to have a length
    length, found = math.hypot(*counts.values()), counts.items()
    made = array("f", bytes(4 * dimensions))
    for place, count in found if length else ((0, 1),):
        made[place] = count / (length or 1)
    return made


def notice_of(registry: Registry, provider_id: str) -> str:
    """What is to be said of a provider's vectors: "" unless it only stands in."""
    provider = registry.providers.get(provider_id)
    return VECTORS_NOTICE if provider is not None and provider.stands_in else ""
