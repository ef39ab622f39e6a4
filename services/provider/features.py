"""What a prompt looks like to the predictor of quality: its embedding, its shape, its words as numbers. No text is kept."""

import itertools
import re
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Vector = NDArray[np.float32]

# buckets of the hashed words (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009)
WORD_BUCKETS = 4096
MOST_WORDS = 400
HASHED_DIMENSIONS = 256
_LONGEST = 20_000
_WORD = re.compile(r"[a-z]+|\d|[^\sa-z\d]")
_LINE_OPTION = re.compile(r"^[A-Za-z][.)] (.*)$", re.MULTILINE)
_ASKS_FOR_NUMBER = re.compile(r"calculat|find|how many|how much|what is the|solve|comput|determin")
_CODE = re.compile(r"```|\bdef |\bclass |\bfunction\b|[{};]\s*$|=>|#include|\bimport ", re.MULTILINE)
_HEADER = struct.Struct("<Bf")
_VERSION = 1


class Features(Struct, frozen=True, eq=False):
    """One prompt: a unit vector (empty when there is no embedding), numbers of its shape, ascending buckets of its words."""

    embedding: Vector
    shape: Vector
    words: NDArray[np.uint16]

    def pack(self) -> bytes:
        """As bytes for the store: the embedding in 8 bits a number, the shape in 16."""
        largest = float(np.max(np.abs(self.embedding), initial=0.0)) or 1.0
        small = np.round(self.embedding / largest * 127).astype(np.int8)
        head = _HEADER.pack(_VERSION, largest) + struct.pack("<HH", len(small), len(self.shape))
        return head + small.tobytes() + self.shape.astype(np.float16).tobytes() + self.words.tobytes()


def unpack(packed: bytes) -> Features:
    """What `pack` made; ValueError for anything else."""
    version, largest = _HEADER.unpack_from(packed)
    if version != _VERSION:
        raise ValueError(f"features of version {version}, not {_VERSION}")
    dimensions, shape = struct.unpack_from("<HH", packed, _HEADER.size)
    start = _HEADER.size + 4
    middle, end = start + dimensions, start + dimensions + 2 * shape
    embedding = np.frombuffer(packed[start:middle], np.int8).astype(np.float32) * np.float32(largest / 127)
    return Features(
        embedding,
        np.frombuffer(packed[middle:end], np.float16).astype(np.float32),
        np.frombuffer(packed[end:], np.uint16),
    )


def read(text: str, embedding: Vector | None = None) -> Features:
    """The features of a prompt; only its beginning is looked at."""
    text = text[:_LONGEST]
    vector = np.zeros(0, np.float32) if embedding is None else embedding.astype(np.float32)
    return Features(vector, shape_of(text), hashed_words(text))


def hashed_words(text: str) -> NDArray[np.uint16]:
    """Buckets of the distinct words, digits and signs among the first `MOST_WORDS`, ascending."""
    words = set(_WORD.findall(text[:_LONGEST].lower())[:MOST_WORDS])
    return np.array(sorted({zlib.crc32(word.encode()) % WORD_BUCKETS for word in words}), np.uint16)


def hashed_embedding(text: str) -> Vector:
    """A unit vector of words and pairs of words with signs (Weinberger et al., 2009): what stands in when there is no model."""
    words = _WORD.findall(text[:_LONGEST].lower())[:MOST_WORDS]
    vector = np.zeros(HASHED_DIMENSIONS, np.float32)
    for word in {*words, *(f"{left} {right}" for left, right in itertools.pairwise(words))}:
        number = zlib.crc32(word.encode())
        vector[number % HASHED_DIMENSIONS] += 1 if number >> 31 else -1
    return np.asarray(vector / (np.linalg.norm(vector) or 1.0), np.float32)


def shape_of(text: str) -> Vector:
    """Numbers about the text's form, each roughly 0..1: lengths, digits, formulas, code, kinds of question."""
    lower, characters = text.lower(), max(len(text), 1)
    words = re.findall(r"[A-Za-z]+", text)
    options = _LINE_OPTION.findall(text)
    digits = sum(character.isdigit() for character in text)
    return np.array(
        [
            np.log1p(len(text)) / 8,
            len(options) / 10,
            digits / characters,
            np.log1p(digits) / 4,
            _mean([len(word) for word in words]) / 8,
            len({word.lower() for word in words}) / max(len(words), 1),
            sum(word[0].isupper() for word in words) / max(len(words), 1),
            "_" in text,
            "?" in text,
            " not " in lower or "except" in lower,
            "which of the following" in lower,
            "statement" in lower,
            "\\" in text or "$" in text or "^" in text,
            "=" in text,
            bool(_ASKS_FOR_NUMBER.search(lower)),
            _mean([len(option) for option in options]) / 60,
            _mean([any(character.isdigit() for character in option) for option in options]),
            '"' in text,
            min(lower.count("\n"), 40) / 20,
            bool(_CODE.search(text)),
        ],
        np.float32,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
