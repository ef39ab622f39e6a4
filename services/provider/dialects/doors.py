"""Our compatible doors: how each reads a request, writes an answer or a stream, and tells what went wrong."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from services.provider.chat import Answer
from services.provider.dialects.anthropic import answers as anthropic_answers
from services.provider.dialects.anthropic import reading as anthropic_reading
from services.provider.dialects.anthropic import requests as anthropic_requests
from services.provider.dialects.anthropic.streams import Writer as AnthropicWriter
from services.provider.dialects.asked import Asked
from services.provider.dialects.openai import answers as openai_answers
from services.provider.dialects.openai import reading as openai_reading
from services.provider.dialects.openai.streams import Writer as OpenAIWriter
from services.provider.dialects.responses import answers as responses_answers
from services.provider.dialects.responses import reading as responses_reading
from services.provider.dialects.responses.streams import Writer as ResponsesWriter
from services.provider.dialects.troubles import Trouble, anthropic_body, anthropic_status, openai_body

NO_HEADERS: Mapping[str, str] = {}
StreamWriter = OpenAIWriter | AnthropicWriter | ResponsesWriter


class Door(ABC):
    """One dialect as our callers speak it."""

    @abstractmethod
    def read(self, body: Any, headers: Mapping[str, str] = NO_HEADERS) -> Asked:
        """A request; Unreadable for one that is refused."""

    @abstractmethod
    def answer(self, asked: Asked, answer: Answer, query_id: str, created: int, model: str) -> dict[str, Any]:
        """A whole answer."""

    @abstractmethod
    def writer(self, asked: Asked, query_id: str, created: int, model: str) -> StreamWriter:
        """Writes a stream."""

    @abstractmethod
    def trouble(self, trouble: Trouble, query_id: str) -> tuple[int, dict[str, Any]]:
        """HTTP status and body of what went wrong."""


class OpenAIDoor(Door):
    """POST /v1/chat/completions."""

    def read(self, body: Any, headers: Mapping[str, str] = NO_HEADERS) -> Asked:
        """A chat completion request."""
        return openai_reading.read(body)

    def answer(self, asked: Asked, answer: Answer, query_id: str, created: int, model: str) -> dict[str, Any]:
        """A chat.completion."""
        return openai_answers.write(answer, f"chatcmpl-{query_id}", created, model)

    def writer(self, asked: Asked, query_id: str, created: int, model: str) -> OpenAIWriter:
        """Writes chat.completion.chunk events."""
        return OpenAIWriter(f"chatcmpl-{query_id}", created, model, with_usage=asked.with_usage)

    def trouble(self, trouble: Trouble, query_id: str) -> tuple[int, dict[str, Any]]:
        """OpenAI's error object."""
        return trouble.status, openai_body(trouble)


class ResponsesDoor(Door):
    """POST /v1/responses."""

    def read(self, body: Any, headers: Mapping[str, str] = NO_HEADERS) -> Asked:
        """A request for a response."""
        return responses_reading.read(body)

    def answer(self, asked: Asked, answer: Answer, query_id: str, created: int, model: str) -> dict[str, Any]:
        """A response."""
        return responses_answers.write(answer, asked.shown, query_id, created, model)

    def writer(self, asked: Asked, query_id: str, created: int, model: str) -> ResponsesWriter:
        """Writes the events of a response."""
        return ResponsesWriter(asked.shown, query_id, created, model)

    def trouble(self, trouble: Trouble, query_id: str) -> tuple[int, dict[str, Any]]:
        """OpenAI's error object."""
        return trouble.status, openai_body(trouble)


class AnthropicDoor(Door):
    """POST /v1/messages."""

    def read(self, body: Any, headers: Mapping[str, str] = NO_HEADERS) -> Asked:
        """A messages request."""
        return anthropic_reading.read(body, betas=headers.get(anthropic_requests.BETAS, ""))

    def answer(self, asked: Asked, answer: Answer, query_id: str, created: int, model: str) -> dict[str, Any]:
        """A message."""
        return anthropic_answers.write(answer, f"msg_{query_id}", model)

    def writer(self, asked: Asked, query_id: str, created: int, model: str) -> AnthropicWriter:
        """Writes the events of a message."""
        return AnthropicWriter(f"msg_{query_id}", model)

    def trouble(self, trouble: Trouble, query_id: str) -> tuple[int, dict[str, Any]]:
        """Anthropic's error object."""
        return anthropic_status(trouble), anthropic_body(trouble, f"req_{query_id}")
