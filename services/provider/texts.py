"""Texts to make vectors of, in a form that no dialect colours: what is asked, how it is split into calls, and what comes back."""

import math
from array import array
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from services.provider.chat import Usage

# what a model with this capability does; it answers no conversation, and no other model makes vectors
EMBEDDINGS = "embeddings"
Item = str | tuple[int, ...]
if TYPE_CHECKING:
    Vector = array[float]
else:
    # it takes no type before Python 3.12
    Vector = array


class Texts(Struct, frozen=True):
    """A request for vectors, one for each of `items`: texts, or the ids of their tokens, which only some far ends take.

    `dimensions` None: as many as the model makes. `extra` and `hints` are as those of a chat.
    """

    items: tuple[Item, ...]
    dimensions: int | None = None
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The texts, when all of them are words and none is the ids of tokens; else nothing."""
        found = [item for item in self.items if isinstance(item, str)]
        return found if len(found) == len(self.items) else []


class Vectors(Struct, frozen=True):
    """Vectors in the order of their texts; `usage` None: the provider told none; `estimated`: it was counted from the texts."""

    items: tuple[Vector, ...]
    usage: Usage | None = None
    model: str = ""
    estimated: bool = False

    @property
    def dimensions(self) -> int:
        """How many numbers each has."""
        return len(self.items[0]) if self.items else 0

    def plus(self, other: "Vectors") -> "Vectors":
        """With those of the texts that follow; what both used is added up."""
        usage = Usage((self.usage or Usage()).input_tokens + (other.usage or Usage()).input_tokens)
        return Vectors(self.items + other.items, usage, other.model or self.model, self.estimated or other.estimated)


NO_VECTORS = Vectors(())


class Batch(Struct, frozen=True):
    """Most texts, and most tokens of all of them, that a far end takes in one call; 0: any number."""

    texts: int = 0
    tokens: int = 0

    def or_else(self, other: "Batch") -> "Batch":
        """The same with what it leaves open as the other one says."""
        return Batch(self.texts or other.texts, self.tokens or other.tokens)


ANY = Batch()


def split(texts: Texts, most: Batch, done: int = 0) -> Iterator[Texts]:
    """The texts after the first `done`, in order, in calls that the far end takes; one that is too long by itself goes alone."""
    items: list[Item] = []
    weight = 0
    for item in texts.items[done:]:
        heavier = weight + most_tokens(item)
        if items and ((most.texts and len(items) >= most.texts) or (most.tokens and heavier > most.tokens)):
            yield replace(texts, items=tuple(items))
            items, heavier = [], most_tokens(item)
        items.append(item)
        weight = heavier
    if items:
        yield replace(texts, items=tuple(items))


def most_tokens(item: Item) -> int:
    """What a text takes at most, whatever the tokenizer: each token stands for a byte at least."""
    return len(item.encode()) if isinstance(item, str) else len(item)


def flaw(made: Vectors, texts: Texts) -> str:
    """What is wrong with the vectors of texts; "" when they are as many, of one length, and of finite numbers."""
    if len(made.items) != len(texts.items):
        return f"{len(made.items)} vectors came for {len(texts.items)} texts"
    if not made.dimensions:
        return "a vector without numbers came"
    if any(len(vector) != made.dimensions for vector in made.items):
        return "the vectors that came differ in length"
    # the sum of 32-bit numbers cannot leave what 64 bits hold, so it is finite when all of them are
    return "" if all(math.isfinite(sum(vector)) for vector in made.items) else "a vector came with numbers that are not finite"
