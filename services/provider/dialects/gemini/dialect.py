"""Calls in the Gemini dialect: a request out, an answer, a stream or an error in."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from services.provider.chat import Answer, Chat, Delta
from services.provider.dialects.base import JSON, Dialect, Outgoing, StreamReader, broken, dump, load
from services.provider.dialects.framing import Events
from services.provider.dialects.gemini import answers, embeddings, requests
from services.provider.dialects.refusals import refusal
from services.provider.failure import CallFailedError, Failure
from services.provider.target import Target
from services.provider.texts import Texts, Vectors

_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
DEFAULT_VERSION = "v1beta"


class Gemini(Dialect):
    """POST /v1beta/models/MODEL:generateContent and :streamGenerateContent?alt=sse."""

    name = requests.NAME
    batch = embeddings.BATCH

    def body(self, chat: Chat, target: Target) -> dict[str, Any]:
        """A generateContent request."""
        return requests.write(chat, target.model)

    def request(self, chat: Chat, target: Target, *, stream: bool) -> Outgoing:
        """The request; the model stands in the path."""
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return _outgoing(target, verb, self.body(chat, target), "text/event-stream" if stream else JSON)

    def embedding(self, texts: Texts, target: Target) -> Outgoing:
        """POST /v1beta/models/MODEL:batchEmbedContents."""
        return _outgoing(target, "batchEmbedContents", embeddings.write(texts, target.model), JSON)

    def vectors(self, body: bytes) -> Vectors:
        """A BatchEmbedContentsResponse."""
        return embeddings.read_answer(_no_error(load(body)))

    def credentials(self, target: Target) -> dict[str, str]:
        """The bare key in x-goog-api-key; Vertex AI takes a bearer token in `authorization`."""
        if not target.key:
            return {}
        own = target.manner.auth_header or "x-goog-api-key"
        return {own: f"Bearer {target.key}" if own.lower() == "authorization" else target.key}

    def answer(self, body: bytes) -> Answer:
        """A GenerateContentResponse."""
        return answers.read(_no_error(load(body)))

    def reader(self) -> "Reader":
        """Reads a stream of GenerateContentResponse."""
        return Reader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """A google.rpc.Status; its RetryInfo says how long to wait."""
        try:
            value = json.loads(body)
            error = (value[0] if isinstance(value, list) else value)["error"]
            code, message = str(error.get("status") or ""), str(error.get("message") or "")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return refusal(status, "", "")
        return replace(refusal(status, code, message), retry_after=_delay(error.get("details")))


def _outgoing(target: Target, verb: str, body: dict[str, Any], accept: str) -> Outgoing:
    manner = target.manner
    body = {manner.rename.get(name, name): value for name, value in body.items() if name not in manner.drop}
    path = manner.path or f"/{manner.api_version or DEFAULT_VERSION}/models/{{model}}"
    url = target.base_url.rstrip("/") + path.replace("{model}", quote(target.model, safe="/:@"))
    return Outgoing(f"{url}:{verb}", {"content-type": JSON, "accept": accept, **manner.headers}, dump(body))


def _delay(details: Any) -> timedelta | None:
    for detail in details if isinstance(details, list) else ():
        match = _DELAY.fullmatch(str(detail.get("retryDelay"))) if isinstance(detail, dict) else None
        if match:
            return timedelta(seconds=float(match[1]))
    return None


class Reader(StreamReader):
    """Reads responses, each with more parts; the counts of each are the whole so far. A reason to finish is the end."""

    def __init__(self) -> None:
        self._events = Events()
        self._pieces = answers.Pieces()

    @property
    def ended(self) -> bool:
        """Never told: the counts may come after the reason to finish."""
        return False

    def feed(self, data: bytes) -> Iterator[Delta]:
        """The deltas of complete responses."""
        for event in self._events.feed(data):
            yield from self._response(load(event.data))

    def end(self) -> list[Delta]:
        """Nothing more."""
        if not self._pieces.finished:
            raise broken()
        return []

    def _response(self, response: dict[str, Any]) -> list[Delta]:
        return self._pieces.deltas(_no_error(response))


def _no_error(response: dict[str, Any]) -> dict[str, Any]:
    """The same response; CallFailedError for one that tells an error, whatever the status before it said."""
    error = response.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        raise CallFailedError(Gemini().failure(code if isinstance(code, int) else 500, {}, dump(response)))
    return response
