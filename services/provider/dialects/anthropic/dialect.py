"""Calls in the Anthropic dialect: a request out, an answer, a stream or an error in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.provider.chat import Answer, Chat
from services.provider.dialects.anthropic import answers, requests
from services.provider.dialects.anthropic.streams import Reader
from services.provider.dialects.base import JSON, Dialect, Outgoing, dump, load
from services.provider.dialects.refusals import refusal
from services.provider.failure import Failure
from services.provider.target import Target

PATH = "/v1/messages"
VERSION = "2023-06-01"


class Anthropic(Dialect):
    """POST /v1/messages."""

    name = requests.NAME

    def body(self, chat: Chat, target: Target) -> dict[str, Any]:
        """A messages request."""
        return requests.write(chat, target.model)

    def request(self, chat: Chat, target: Target, *, stream: bool) -> Outgoing:
        """The request."""
        manner = target.manner
        body = self.body(chat, target) | ({"stream": True} if stream else {})
        betas = body.pop(requests.BETAS, "")
        body = {manner.rename.get(name, name): value for name, value in body.items() if name not in manner.drop}
        headers = {
            "content-type": JSON,
            "accept": "text/event-stream" if stream else JSON,
            "anthropic-version": manner.api_version or VERSION,
            **({requests.BETAS: betas} if betas else {}),
            **manner.headers,
        }
        return Outgoing(target.base_url.rstrip("/") + (manner.path or PATH), headers, dump(body))

    def without_word(self, chat: Chat, model: str) -> Iterator[str]:
        """Also thinking, where the provider refuses to think."""
        return requests.left_out(chat, model)

    def credentials(self, target: Target) -> dict[str, str]:
        """The bare key in x-api-key."""
        if not target.key:
            return {}
        own = target.manner.auth_header or "x-api-key"
        return {own: f"Bearer {target.key}" if own.lower() == "authorization" else target.key}

    def answer(self, body: bytes) -> Answer:
        """A message."""
        return answers.read(load(body))

    def reader(self) -> Reader:
        """Reads the events of a message."""
        return Reader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """`{"type": "error", "error": {type, message}}`."""
        try:
            error = json.loads(body)["error"]
            return refusal(status, str(error["type"]), str(error["message"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return refusal(status, "", "")
