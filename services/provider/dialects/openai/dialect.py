"""Calls in the OpenAI dialect: a request out, an answer, a stream or an error in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from services.provider.chat import Answer, Chat
from services.provider.dialects.base import JSON, Dialect, Outgoing, dump, load, unknown_wishes, unmarked
from services.provider.dialects.openai import answers, embeddings, requests
from services.provider.dialects.openai.streams import Reader
from services.provider.dialects.refusals import refusal
from services.provider.failure import Failure
from services.provider.target import Target
from services.provider.texts import Texts, Vectors

PATH = "/chat/completions"
# whose callers mark what to cache (anthropic/requests.py)
ANTHROPIC = "anthropic"


class OpenAI(Dialect):
    """POST /chat/completions."""

    name = requests.NAME
    batch = embeddings.BATCH

    def body(self, chat: Chat, target: Target) -> dict[str, Any]:
        """A chat completion request."""
        manner = target.manner
        body = requests.write(chat if manner.cache_marks else unmarked(chat), target.model, send_reasoning=manner.send_reasoning)
        # at the top, as Anthropic has it, the mark stands for the last part that can be kept
        mark = chat.hints.get(ANTHROPIC, {}).get("cache_control") if manner.cache_marks else None
        return {**body, "cache_control": mark} if mark else body

    def request(self, chat: Chat, target: Target, *, stream: bool) -> Outgoing:
        """The request; the usage of a stream is always asked for."""
        body = self.body(chat, target)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return _outgoing(target, target.manner.path or PATH, body, "text/event-stream" if stream else JSON)

    def embedding(self, texts: Texts, target: Target) -> Outgoing:
        """POST /embeddings, whatever the path for conversations is."""
        return _outgoing(target, embeddings.PATH, embeddings.write(texts, target.model), JSON)

    def vectors(self, body: bytes) -> Vectors:
        """A list of embeddings."""
        return embeddings.read_answer(load(body))

    def without_word(self, chat: Chat, model: str) -> Iterator[str]:
        """What only another dialect knows."""
        yield from unknown_wishes(chat, self.name)

    def credentials(self, target: Target) -> dict[str, str]:
        """A bearer token, or the bare key in the header that the provider wants."""
        if not target.key:
            return {}
        own = target.manner.auth_header
        return {own: target.key} if own else {"authorization": f"Bearer {target.key}"}

    def answer(self, body: bytes) -> Answer:
        """A chat.completion."""
        return answers.read(load(body))

    def reader(self) -> Reader:
        """Reads chat.completion.chunk events."""
        return Reader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """`{"error": {message, type, code}}`, and what the others make of it."""
        code, message = error_of(body)
        return refusal(status, code, message)


def _outgoing(target: Target, path: str, body: dict[str, Any], accept: str) -> Outgoing:
    manner = target.manner
    body = {manner.rename.get(name, name): value for name, value in body.items() if name not in manner.drop}
    base = target.base_url.rstrip("/")
    if "{model}" in base:
        base = base.replace("{model}", quote(target.model, safe="/:@"))
    url = base + path + (f"?api-version={manner.api_version}" if manner.api_version else "")
    return Outgoing(url, {"content-type": JSON, "accept": accept, **manner.headers}, dump(body))


def error_of(body: bytes) -> tuple[str, str]:
    """Code and words of an error body, whatever its shape."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", body[:200].decode(errors="replace") if not body.lstrip().startswith(b"<") else ""
    error: Any = value
    if isinstance(value, list) and value:
        error = value[0]
    if isinstance(error, dict):
        error = error.get("error", error)
    if not isinstance(error, dict):
        return "", str(error)
    inner = error.get("innererror") or {}
    codes = (error.get("code"), error.get("type"), error.get("status"), inner.get("code") if isinstance(inner, dict) else None)
    message = error.get("message") or error.get("detail") or ""
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):
        # OpenRouter: what the provider behind it said
        message = f"{message}: {metadata['raw']}"
    return " ".join(str(code) for code in codes if code), message if isinstance(message, str) else json.dumps(message)
