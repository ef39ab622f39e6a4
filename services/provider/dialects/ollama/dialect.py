"""Calls in the Ollama dialect: a request out, an answer, lines of a stream or an error in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.provider.assembling import assemble
from services.provider.chat import Answer, Chat, Delta, Finish, ToolCallDelta, Usage
from services.provider.dialects.base import JSON, Dialect, Outgoing, StreamReader, broken, dump, load, malformed, objects, whole
from services.provider.dialects.framing import Lines
from services.provider.dialects.ollama import embeddings, requests
from services.provider.dialects.refusals import refusal, told_in_stream
from services.provider.failure import CallFailedError, Failure
from services.provider.target import Target
from services.provider.texts import Texts, Vectors

PATH = "/api/chat"


class Ollama(Dialect):
    """POST /api/chat."""

    name = requests.NAME
    streams_events = False
    batch = embeddings.BATCH

    def body(self, chat: Chat, target: Target) -> dict[str, Any]:
        """A chat request."""
        return requests.write(chat, target.model)

    def request(self, chat: Chat, target: Target, *, stream: bool) -> Outgoing:
        """The request."""
        body = self.body(chat, target) | {"stream": stream}
        return _outgoing(target, target.manner.path or PATH, body, "application/x-ndjson" if stream else JSON)

    def embedding(self, texts: Texts, target: Target) -> Outgoing:
        """POST /api/embed."""
        return _outgoing(target, embeddings.PATH, embeddings.write(texts, target.model), JSON)

    def vectors(self, body: bytes) -> Vectors:
        """A list of vectors."""
        return embeddings.read_answer(load(body))

    def credentials(self, target: Target) -> dict[str, str]:
        """A bearer token, for one behind a proxy or in the cloud."""
        return {target.manner.auth_header or "authorization": f"Bearer {target.key}"} if target.key else {}

    def answer(self, body: bytes) -> Answer:
        """A whole answer."""
        reader = Reader()
        deltas = reader.response(load(body))
        if not reader.ended:
            raise malformed("the answer does not say that it is done")
        return assemble(deltas)

    def reader(self) -> "Reader":
        """Reads lines of JSON."""
        return Reader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """`{"error": words}`."""
        try:
            return refusal(status, "", str(json.loads(body)["error"]))
        except (ValueError, LookupError, TypeError, RecursionError):
            return refusal(status, "", "")


def _outgoing(target: Target, path: str, body: dict[str, Any], accept: str) -> Outgoing:
    manner = target.manner
    body = {manner.rename.get(name, name): value for name, value in body.items() if name not in manner.drop}
    return Outgoing(target.base_url.rstrip("/") + path, {"content-type": JSON, "accept": accept, **manner.headers}, dump(body))


class Reader(StreamReader):
    """Reads responses, the last of which is done and has the counts."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._done = False
        self._calls = 0

    @property
    def ended(self) -> bool:
        """`done` was said."""
        return self._done

    def feed(self, data: bytes) -> Iterator[Delta]:
        """The deltas of complete lines."""
        for line in self._lines.feed(data):
            if line.strip() and not self._done:
                yield from self.response(load(line))

    def end(self) -> list[Delta]:
        """A last line without its end."""
        rest = self._lines.rest().strip()
        deltas = self.response(load(rest)) if rest and not self._done else []
        if not self._done:
            raise broken()
        return deltas

    def response(self, response: dict[str, Any]) -> list[Delta]:
        """What one response adds."""
        if response.get("error"):
            raise CallFailedError(told_in_stream("", str(response["error"])))
        model, message = str(response.get("model") or ""), response.get("message")
        message = message if isinstance(message, dict) else {}
        thought = message.get("thinking") or message.get("reasoning_content")
        deltas = [Delta(reasoning=str(thought), model=model)] if thought else []
        if message.get("content"):
            deltas.append(Delta(text=str(message["content"]), model=model))
        for call in objects(message.get("tool_calls")):
            deltas.append(Delta(tool_call=self._call(call), model=model))
        if response.get("done") is True:
            self._done = True
            deltas.append(Delta(finish=self._finish(response.get("done_reason")), usage=_usage(response), model=model))
        return deltas

    def _call(self, call: Any) -> ToolCallDelta:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise malformed("a tool call without a function")
        index = self._calls
        self._calls += 1
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, separators=(",", ":"), ensure_ascii=False)
        name = str(function.get("name") or "")
        return ToolCallDelta(index, str(call.get("id") or "") or requests.call_id(name, text, index), name, text)

    def _finish(self, reason: Any) -> Finish:
        if self._calls:
            return Finish.TOOL_CALLS
        return Finish.LENGTH if reason == "length" else Finish.STOP


def _usage(response: dict[str, Any]) -> Usage | None:
    given, made = whole(response.get("prompt_eval_count")), whole(response.get("eval_count"))
    return Usage(given, made) if given or made else None
