"""The events of an Anthropic message: read from a provider, written for a caller."""

import json
from collections.abc import Iterator
from typing import Any

from services.provider.chat import Delta, Finish, Foreign, ToolCallDelta, Usage
from services.provider.dialects.anthropic import answers
from services.provider.dialects.anthropic.requests import NAME
from services.provider.dialects.base import StreamReader, broken, encode, load, malformed
from services.provider.dialects.framing import Events, write_event

_PLAIN = {"text", "thinking", "tool_use"}
_CALL = "call "


class Reader(StreamReader):
    """Reads events. The counts of message_start and message_delta are each the whole so far: the later replaces the earlier."""

    def __init__(self) -> None:
        self._events = Events()
        self._ended = False
        self._told: dict[str, Any] = {}
        self._model = ""
        # by the index of a block: the number of its tool call, and the signature that came so far
        self._calls: dict[int, int] = {}
        self._signatures: dict[int, str] = {}
        # blocks of calls of which no argument came so far
        self._bare: set[int] = set()
        # whether the last block is one of words
        self._in_words = False

    @property
    def ended(self) -> bool:
        """message_stop was said."""
        return self._ended

    def feed(self, data: bytes) -> Iterator[Delta]:
        """The deltas of complete events."""
        for event in self._events.feed(data):
            if self._ended:
                break
            yield from self._event(load(event.data))

    def end(self) -> list[Delta]:
        """Nothing more."""
        if not self._ended:
            raise broken()
        return []

    def _event(self, event: dict[str, Any]) -> list[Delta]:
        kind = event.get("type")
        if kind == "error":
            raise answers.failure_of(event)
        if kind == "message_start":
            message = _table(event, "message")
            self._model = str(message.get("model") or "")
            return [Delta(usage=self._usage(message), model=self._model)]
        if kind == "content_block_start":
            return self._start(_index(event), _table(event, "content_block"))
        if kind == "content_block_delta":
            return self._piece(_index(event), _table(event, "delta"))
        if kind == "content_block_stop":
            return self._stop(_index(event))
        if kind == "message_delta":
            change = _table(event, "delta")
            finish = answers.finish_of(change.get("stop_reason"))
            stop = str(change.get("stop_sequence") or "")
            return [Delta(finish=finish, usage=self._usage(event), model=self._model, stop_sequence=stop)]
        self._ended = kind == "message_stop"
        return []

    def _usage(self, holder: dict[str, Any]) -> Usage | None:
        told = holder.get("usage")
        if not isinstance(told, dict):
            return None
        # 0 takes nothing back: some tell the input at the beginning alone, and 0 at the end, or the other way round
        self._told |= {name: value for name, value in told.items() if value}
        return answers.usage_of(self._told)

    def _start(self, index: int, block: dict[str, Any]) -> list[Delta]:
        kind = str(block.get("type"))
        apart, self._in_words = self._in_words, kind == "text"
        if kind == "tool_use":
            number = self._calls[index] = len(self._calls)
            given = block.get("input")
            arguments = json.dumps(given, separators=(",", ":"), ensure_ascii=False) if given else ""
            if not arguments:
                self._bare.add(index)
            call = ToolCallDelta(number, str(block.get("id") or ""), str(block.get("name") or ""), arguments)
            return [Delta(tool_call=call, model=self._model)]
        if kind not in _PLAIN:
            return [Delta(part=Foreign(NAME, block), model=self._model)]
        if kind == "thinking":
            self._signatures[index] = str(block.get("signature") or "")
            words = str(block.get("thinking") or "")
            return [Delta(reasoning=words, model=self._model)] if words else []
        words = str(block.get("text") or "")
        deltas = [Delta(ends=True, model=self._model)] if apart else []
        deltas += [Delta(text=words, model=self._model)] if words else []
        return deltas + [Delta(citation=each, model=self._model) for each in answers.citations_of(block)]

    def _stop(self, index: int) -> list[Delta]:
        if index in self._bare:
            # as it stands in a whole answer: an empty text is no JSON
            return [Delta(tool_call=ToolCallDelta(self._calls[index], arguments="{}"), model=self._model)]
        signature = self._signatures.pop(index, "")
        return [Delta(signature=signature, model=self._model)] if signature else []

    def _piece(self, index: int, piece: dict[str, Any]) -> list[Delta]:
        kind = piece.get("type")
        if kind == "text_delta" and piece.get("text"):
            return [Delta(text=str(piece["text"]), model=self._model)]
        if kind == "thinking_delta" and piece.get("thinking"):
            return [Delta(reasoning=str(piece["thinking"]), model=self._model)]
        if kind == "citations_delta":
            found = answers.citations_of({"citations": [piece.get("citation")]})
            return [Delta(citation=each, model=self._model) for each in found]
        if kind == "signature_delta":
            self._signatures[index] = self._signatures.get(index, "") + str(piece.get("signature") or "")
        if kind == "input_json_delta" and piece.get("partial_json") and index in self._calls:
            self._bare.discard(index)
            call = ToolCallDelta(self._calls[index], arguments=str(piece["partial_json"]))
            return [Delta(tool_call=call, model=self._model)]
        return []


def _table(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    if not isinstance(found, dict):
        raise malformed(f"an event without {name}")
    return found


def _index(event: dict[str, Any]) -> int:
    found = event.get("index")
    if not isinstance(found, int):
        raise malformed("an event of a block without its index")
    return found


class Writer:
    """Writes events for a caller: blocks one after the other, each begun and ended; the end holds the counts.

    Others may send the pieces of several calls by turns. Here a block that was ended cannot go on: what belongs to later ones waits
    until the arguments of the open call are whole.
    """

    def __init__(self, answer_id: str, model: str) -> None:
        self._id = answer_id
        self._model = model
        self._began = False
        self._index = -1
        # what the open block is: "text", "thinking", "call 0" …; "" when none is open
        self._open = ""
        # arguments of the open call as far as they came, the calls that were written, and what belongs to later blocks
        self._arguments: list[str] = []
        self._written: set[int] = set()
        self._later: list[Delta] = []
        self._usage: Usage | None = None
        self._finish = Finish.STOP
        self._stop_sequence = ""

    def write(self, delta: Delta) -> bytes:
        """The events of one delta."""
        self._usage = delta.usage or self._usage
        self._finish = delta.finish or self._finish
        self._stop_sequence = delta.stop_sequence or self._stop_sequence
        return self._begin() + self._show(delta)

    def _show(self, delta: Delta) -> bytes:
        if self._must_wait(delta):
            self._later.append(delta)
            return b""
        out: list[bytes] = []
        if delta.reasoning or delta.signature:
            out.append(self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""}))
        if delta.reasoning:
            out.append(self._piece({"type": "thinking_delta", "thinking": delta.reasoning}))
        if delta.signature:
            out += [self._piece({"type": "signature_delta", "signature": delta.signature}), self._close()]
        if delta.ends and self._open == "text":
            out.append(self._close())
        if delta.text:
            out += [self._switch("text", {"type": "text", "text": ""}), self._piece({"type": "text_delta", "text": delta.text})]
        if delta.citation:
            cited = {"type": "citations_delta", "citation": dict(delta.citation)}
            out += [self._switch("text", {"type": "text", "text": ""}), self._piece(cited)]
        if delta.tool_call:
            out.append(self._call(delta.tool_call))
        if delta.part:
            out += [self._switch("part", answers.block_of(delta.part)), self._close()]
        return b"".join(out)

    def _must_wait(self, delta: Delta) -> bool:
        """Whether it belongs to a block after the open one, which is a call that is not whole."""
        if not self._open.startswith(_CALL) or (delta.tool_call and self._open == f"{_CALL}{delta.tool_call.index}"):
            return False
        shows = delta.reasoning or delta.signature or delta.text or delta.citation or delta.ends or delta.tool_call or delta.part
        return bool(shows) and (bool(self._later) or not _is_whole("".join(self._arguments)))

    def end(self) -> bytes:
        """The end of the open block, the reason to stop with the counts, and message_stop."""
        reason = answers.stop_reason(self._finish, self._stop_sequence)
        change = {"stop_reason": reason, "stop_sequence": self._stop_sequence or None}
        usage = answers.write_usage(self._usage or Usage())
        ending = _event("message_delta", delta=change, usage=usage) + _event("message_stop")
        return self._begin() + self._rest() + self._close() + ending

    def _rest(self) -> bytes:
        """What waited for a call that is as whole as it will be."""
        out = b""
        while self._later:
            later, self._later = self._later, []
            out += self._close() + b"".join(map(self._show, later))
        return out

    def error(self, body: dict[str, Any]) -> bytes:
        """An error in the middle: the official client raises it."""
        return write_event(encode(body), "error")

    def _begin(self) -> bytes:
        if self._began:
            return b""
        self._began = True
        message = {"id": self._id, "type": "message", "role": "assistant", "model": self._model, "content": []}
        usage = answers.write_usage(self._usage or Usage())
        return _event("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage})

    def _call(self, call: ToolCallDelta) -> bytes:
        kind = f"{_CALL}{call.index}"
        if kind != self._open and call.index in self._written:
            # its arguments were whole: nothing could follow but blanks
            return b""
        block = {"type": "tool_use", "id": call.call_id, "name": call.name, "input": {}}
        begun = self._switch(kind, block)
        self._written.add(call.index)
        if not call.arguments:
            return begun
        self._arguments.append(call.arguments)
        piece = begun + self._piece({"type": "input_json_delta", "partial_json": call.arguments})
        if self._later and call.arguments.rstrip().endswith("}") and _is_whole("".join(self._arguments)):
            later, self._later = self._later, []
            piece += b"".join(map(self._show, later))
        return piece

    def _switch(self, kind: str, block: dict[str, Any]) -> bytes:
        if kind == self._open:
            return b""
        closed = self._close()
        self._open, self._arguments = kind, []
        self._index += 1
        return closed + _event("content_block_start", index=self._index, content_block=block)

    def _piece(self, piece: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=piece)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _event("content_block_stop", index=self._index)


def _is_whole(arguments: str) -> bool:
    """Whether that is an object of JSON to its end."""
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _event(kind: str, **fields: Any) -> bytes:
    return write_event(encode({"type": kind, **fields}), kind)
