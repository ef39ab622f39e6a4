"""A stream of chat completion chunks: read from a provider, written for a caller."""

from collections.abc import Iterator
from typing import Any

from services.provider.chat import Delta, Finish, ToolCallDelta, Usage
from services.provider.dialects.base import StreamReader, broken, encode, load, malformed, objects
from services.provider.dialects.framing import Events, write_event
from services.provider.dialects.openai import answers, usage

DONE = "[DONE]"


class Reader(StreamReader):
    """Reads chunks. The usage counts wherever it stands: in a last chunk with or without choices, or in every chunk."""

    def __init__(self) -> None:
        self._events = Events()
        self._done = False
        self._finished = False
        # index of a tool call by its id, and of the last one by the index that the far end gave it (None: none)
        self._calls: dict[str, int] = {}
        self._at: dict[int | None, int] = {}
        self._begun: set[int] = set()
        # calls of which no argument came so far
        self._bare: set[int] = set()
        # whether the model said why it does not answer
        self._refused = False
        # what tells this answer from others
        self._answer = ""

    @property
    def ended(self) -> bool:
        """[DONE] was said."""
        return self._done

    def feed(self, data: bytes) -> Iterator[Delta]:
        """The deltas of complete chunks."""
        for event in self._events.feed(data):
            if self._done:
                break
            told = event.data.strip()
            if told == DONE:
                self._done = True
            elif told:
                yield from self._chunk(load(event.data))

    def end(self) -> list[Delta]:
        """Nothing more; a reason to finish counts as the end for those who never say [DONE]."""
        if not self._done and not self._finished:
            raise broken()
        return []

    def _chunk(self, chunk: dict[str, Any]) -> list[Delta]:
        if chunk.get("error"):
            raise answers.in_body_failure(chunk["error"])
        deltas: list[Delta] = []
        self._answer = self._answer or f"{chunk.get('id')} {chunk.get('created')}"
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                raise malformed("a choice that is no object")
            if choice.get("index") in (0, None):
                deltas += self._choice(choice, str(chunk.get("model") or ""))
        # most chunks have none
        told = usage.read(said) if (said := chunk.get("usage")) else None
        if told is None and isinstance(groq := chunk.get("x_groq"), dict):
            told = usage.read(groq.get("usage"))
        if told is not None:
            deltas.append(Delta(usage=told))
        return deltas

    def _choice(self, choice: dict[str, Any], model: str) -> list[Delta]:
        piece = choice.get("delta")
        piece = piece if isinstance(piece, dict) else {}
        thoughts, words = answers.words_of(piece.get("content"))
        thoughts = answers.thought_of(piece) or thoughts
        refusal = piece.get("refusal")
        deltas = [Delta(reasoning=thoughts, model=model)] if thoughts else []
        if words:
            deltas.append(Delta(text=words, model=model))
        elif refusal and isinstance(refusal, str):
            self._refused = True
            deltas.append(Delta(text=refusal, model=model, refused=True))
        deltas += [Delta(tool_call=self._call(call), model=model) for call in objects(piece.get("tool_calls"))]
        finish = answers.finish_of(choice.get("finish_reason"))
        if finish is not None:
            self._finished = True
            # an empty text is no JSON
            deltas += [Delta(tool_call=ToolCallDelta(index, arguments="{}"), model=model) for index in sorted(self._bare)]
            self._bare.clear()
            deltas.append(Delta(finish=Finish.CONTENT_FILTER if self._refused else finish, model=model))
        return deltas

    def _call(self, call: dict[str, Any]) -> ToolCallDelta:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = str(call.get("id") or ""), str(function.get("name") or "")
        index, arguments = self._index(call.get("index"), call_id, name), answers.arguments_of(function)
        if index not in self._begun:
            self._begun.add(index)
            self._bare.add(index)
            call_id = call_id or answers.made_id(self._answer, index, name, arguments)
        if arguments:
            self._bare.discard(index)
        return ToolCallDelta(index, call_id, name, arguments, answers.signature_of(call))

    def _index(self, told: Any, call_id: str, name: str) -> int:
        """Which call a piece belongs to. Some leave the index out; some give each call the first one, and an id of its own."""
        if call_id in self._calls:
            return self._calls[call_id]
        free, place = max(self._at.values(), default=-1) + 1, told if isinstance(told, int) else None
        if call_id and (place is None or (name and self._at.get(place) in self._calls.values())):
            index = free
        elif place is None:
            index = max(free - 1, 0)
        else:
            index = self._at.get(place, free if place in self._at.values() else place)
        self._at[place] = index
        if call_id:
            self._calls[call_id] = index
        return index


class Writer:
    """Writes chunks for a caller, who gets the usage only when asked for: as a last chunk without choices, as OpenAI does."""

    def __init__(self, answer_id: str, created: int, model: str, *, with_usage: bool) -> None:
        self._head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._with_usage = with_usage
        self._usage: Usage | None = None
        self._known: set[int] = set()
        self._began = False
        self._refused = False

    def write(self, delta: Delta) -> bytes:
        """The events of one delta; b"" when it tells a caller nothing."""
        self._usage = delta.usage or self._usage
        piece: dict[str, Any] = {}
        if delta.reasoning:
            piece["reasoning_content"] = delta.reasoning
        if delta.text:
            piece["refusal" if delta.refused else "content"] = delta.text
            self._refused = self._refused or delta.refused
        if delta.tool_call:
            piece["tool_calls"] = [self._call(delta.tool_call)]
        if not piece and delta.finish is None:
            return b""
        if not self._began:
            piece = {"role": "assistant", "content": None if delta.tool_call or delta.refused else "", **piece}
            self._began = True
        finish = answers.finish_name(delta.finish, self._refused) if delta.finish else None
        return self._chunk([{"index": 0, "delta": piece, "logprobs": None, "finish_reason": finish}])

    def end(self) -> bytes:
        """The usage, when it was asked for, and [DONE]."""
        last = b""
        if self._with_usage:
            last = write_event(encode({**self._head, "choices": [], "usage": usage.write(self._usage or Usage())}))
        return last + write_event(DONE)

    def error(self, body: dict[str, Any]) -> bytes:
        """An error in the middle: the official client raises it; [DONE] is not said."""
        return write_event(encode(body))

    def _chunk(self, choices: list[dict[str, Any]]) -> bytes:
        chunk = {**self._head, "choices": choices, **({"usage": None} if self._with_usage else {})}
        return write_event(encode(chunk))

    def _call(self, call: ToolCallDelta) -> dict[str, Any]:
        made: dict[str, Any] = {"index": call.index, "function": {"arguments": call.arguments}}
        if call.index not in self._known:
            self._known.add(call.index)
            made = {"index": call.index, "id": call.call_id, "type": "function"}
            made["function"] = {"name": call.name, "arguments": call.arguments}
        return made | ({"extra_content": {"google": {"thought_signature": call.signature}}} if call.signature else {})
