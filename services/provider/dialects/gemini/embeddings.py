"""Embeddings in the Gemini dialect: a batchEmbedContents request and its answer."""

from typing import Any

from services.provider.chat import Usage
from services.provider.dialects.base import objects, vector, whole, words_of
from services.provider.dialects.gemini.requests import NAME
from services.provider.texts import Batch, Texts, Vectors

# the interface's own limit of one request
BATCH = Batch(100)


def write(texts: Texts, model: str) -> dict[str, Any]:
    """The body; each request in it names the model again."""
    each: dict[str, Any] = {"outputDimensionality": texts.dimensions} if texts.dimensions else {}
    each = {"model": f"models/{model}", **each}
    return {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in words_of(texts, NAME)]}


def read_answer(body: dict[str, Any]) -> Vectors:
    """The vectors in the order of the requests; the older models tell no usage."""
    made = tuple(vector(item.get("values")) for item in objects(body.get("embeddings")))
    told = body.get("usageMetadata")
    counted = whole(told.get("promptTokenCount")) if isinstance(told, dict) else 0
    return Vectors(made, Usage(counted) if counted else None)
