"""Embeddings in the Ollama dialect: an /api/embed request and its answer."""

from typing import Any

from services.provider.chat import Usage
from services.provider.dialects.base import malformed, vector, whole, words_of
from services.provider.dialects.ollama.requests import NAME
from services.provider.dialects.refusals import told_in_stream
from services.provider.failure import CallFailedError
from services.provider.texts import Batch, Texts, Vectors

PATH = "/api/embed"
# it has no limit of its own; a machine that is slow gets on by steps that are kept
BATCH = Batch(128)


def write(texts: Texts, model: str) -> dict[str, Any]:
    """The body. A text that is too long is to be refused: by itself Ollama would cut it and say nothing."""
    body: dict[str, Any] = {"model": model, "input": words_of(texts, NAME), "truncate": False}
    return body | ({"dimensions": texts.dimensions} if texts.dimensions else {})


def read_answer(body: dict[str, Any]) -> Vectors:
    """The vectors in the order of the texts."""
    if body.get("error"):
        raise CallFailedError(told_in_stream("", str(body["error"])))
    found = body.get("embeddings")
    if not isinstance(found, list):
        raise malformed("the answer has no list of embeddings")
    counted = whole(body.get("prompt_eval_count"))
    return Vectors(tuple(map(vector, found)), Usage(counted) if counted else None, str(body.get("model") or ""))
