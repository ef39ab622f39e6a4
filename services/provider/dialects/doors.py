"""Our compatible doors: how each reads a request, writes an answer or a stream, and tells what went wrong."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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

# what a header may hold of a name that a caller made up
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MOST_NAMES = 32
NO_HEADERS: Mapping[str, str] = {}
StreamWriter = OpenAIWriter | AnthropicWriter | ResponsesWriter


class Door(ABC):
    """One dialect as our callers speak it."""

    # what it calls otherwise than OpenAI does
    words: Mapping[str, str] = {}

    @abstractmethod
    def read(self, body: Any, headers: Mapping[str, str] = NO_HEADERS) -> Asked:
        """A request; Unreadable for one that is refused."""

    @abstractmethod
    def answer(self, asked: Asked, answer: Answer, query_id: str, created: int, model: str) -> dict[str, Any]:
        """A whole answer."""

    @abstractmethod
    def writer(self, asked: Asked, query_id: str, created: int, model: str) -> StreamWriter:
        """Writes a stream."""

    def left_out(self, asked: Asked, names: Sequence[str]) -> str:
        """What of a request did not go along, as a header says it: what nobody read, and what the other dialect had no word for."""
        if not names and not asked.unread:
            return ""
        own = (self.words.get(name, name) for name in names)
        return ", ".join(list(filter(_NAME.fullmatch, dict.fromkeys((*own, *asked.unread))))[:_MOST_NAMES])

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

    words: Mapping[str, str] = {
        "max_completion_tokens": "max_output_tokens",
        "reasoning_effort": "reasoning.effort",
        "response_format": "text.format",
        "verbosity": "text.verbosity",
    }

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

    words: Mapping[str, str] = {
        "max_completion_tokens": "max_tokens",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "reasoning_effort": "thinking",
        "stop": "stop_sequences",
    }

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
