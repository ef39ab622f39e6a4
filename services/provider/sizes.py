"""How much a text or a file is when nobody has counted its tokens: the characters that estimates of tokens rest on."""

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

CHARACTERS_PER_TOKEN = 3.5
_DATA_URL = re.compile(r"data:([^,;]{0,100})[^,]{0,200};base64,", re.IGNORECASE)
# words have a blank before this many characters
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{1024}")
_BYTES_OF_4_CHARACTERS = 3
# bytes of a file that are a token, by its kind, from the vendors' figures: a page of a PDF is 60 KB and two thousand tokens, a
# second of sound 16 to 48 KB and ten to thirty. Words that travel as a file are words.
_BYTES_PER_TOKEN = {"text": CHARACTERS_PER_TOKEN, "application": 32.0, "audio": 1000.0, "video": 1000.0, "image": 1000.0}
_DOCUMENT, _SOUND = "application/pdf", "audio/wav"
_MEDIA_TYPES = ("media_type", "mimeType", "mime_type")


def of_characters(count: int, per_token: float = CHARACTERS_PER_TOKEN) -> int:
    """Tokens of so many characters, rounded up."""
    return ceil(count / per_token)


def size(text: str) -> int:
    """Characters of a text; of one that is not ASCII its bytes, for tokenizers cut other scripts into pieces of as many bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def size_of(value: Any, media_type: str = _DOCUMENT) -> int:
    """Characters of a JSON value that only its own dialect knows; a file in it counts as the characters of its tokens."""
    if isinstance(value, str):
        return _size_of_text(value, media_type)
    if isinstance(value, Mapping):
        media_type = _SOUND if value.get("type") == "input_audio" else media_type
        media_type = next((told for name in _MEDIA_TYPES if isinstance(told := value.get(name), str)), media_type)
        return sum(size(name) + size_of(inner, media_type) for name, inner in value.items())
    if isinstance(value, list):
        return sum(size_of(inner, media_type) for inner in value)
    return len(str(value))


def _size_of_text(text: str, media_type: str) -> int:
    url = _DATA_URL.match(text)
    if url is None and not _BASE64.match(text):
        return size(text)
    kind = (url[1] if url and url[1] else media_type).partition("/")[0].lower()
    per_token = _BYTES_PER_TOKEN.get(kind, _BYTES_PER_TOKEN["application"])
    return ceil(len(text) * _BYTES_OF_4_CHARACTERS / 4 / per_token * CHARACTERS_PER_TOKEN)
