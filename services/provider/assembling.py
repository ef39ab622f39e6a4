"""Putting a streamed answer together: its pieces in, the whole answer so far out at any moment."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from services.provider.chat import Answer, Delta, Finish, Foreign, Part, Reasoning, Text, ToolCall, ToolCallDelta, Usage
from services.provider.sizes import size
from services.provider.texts import Vectors


class Assembler:
    """Collects deltas. What came before a stream broke is there too: a client that hangs up pays for it."""

    def __init__(self) -> None:
        self._parts: list[_Growing | Foreign] = []
        self._calls: dict[int, _Growing] = {}
        self.finish: Finish | None = None
        self.usage: Usage | None = None
        self.model = ""
        self.stop_sequence = ""
        self.vectors: Vectors | None = None
        # how much of output came, in characters (sizes.py): what an estimate of the usage rests on when the provider told none
        self.characters = 0
        # whether anything came that a caller sees: from then on no other model may take over
        self.begun = False

    def add(self, delta: Delta) -> None:
        """Takes one piece."""
        if delta.reasoning or delta.signature:
            self._open(Reasoning("")).grow(delta.reasoning, delta.signature)
            self.characters += size(delta.reasoning)
        if delta.ends and self._parts and isinstance(last := self._parts[-1], _Growing):
            last.sealed = True
        if delta.text:
            self._open(Text("", refused=delta.refused)).grow(delta.text)
            self.characters += size(delta.text)
        if delta.citation is not None:
            self._open(Text("")).citations.append(delta.citation)
        if delta.tool_call is not None:
            self._call(delta.tool_call)
        if delta.part is not None:
            self._parts.append(delta.part)
            self.begun = True
        if delta.vectors is not None:
            self.vectors = delta.vectors
            self.begun = True
        self.finish = delta.finish or self.finish
        self.usage = delta.usage or self.usage
        self.model = delta.model or self.model
        self.stop_sequence = delta.stop_sequence or self.stop_sequence

    def answer(self) -> Answer:
        """The answer as far as it came; one that was not finished counts as cut off."""
        parts = tuple(part if isinstance(part, Foreign) else part.whole() for part in self._parts)
        return Answer(parts, self.finish or Finish.LENGTH, self.usage, self.model, self.stop_sequence, self.vectors)

    def _open(self, kind: Text | Reasoning) -> "_Growing":
        """The part that grows: the last one when it is of this kind and not sealed by a signature, else a new one."""
        self.begun = True
        last = self._parts[-1] if self._parts else None
        if isinstance(last, _Growing) and last.part == kind and not last.sealed:
            return last
        fresh = _Growing(kind)
        self._parts.append(fresh)
        return fresh

    def _call(self, piece: ToolCallDelta) -> None:
        self.begun = True
        growing = self._calls.get(piece.index)
        if growing is None:
            growing = self._calls[piece.index] = _Growing(ToolCall(piece.call_id, piece.name, ""))
            self._parts.append(growing)
        growing.grow(piece.arguments, piece.signature)
        self.characters += size(piece.arguments)


class _Growing:
    """A part whose words still come: kept as a list, because adding to a text again and again is quadratic."""

    def __init__(self, part: Text | Reasoning | ToolCall) -> None:
        self.part = part
        self.sealed = False
        self.citations: list[Mapping[str, Any]] = []
        self._pieces: list[str] = []
        self._signature: list[str] = []

    def grow(self, words: str, signature: str = "") -> None:
        self._pieces.append(words)
        if signature:
            self._signature.append(signature)
            self.sealed = True

    def whole(self) -> Part:
        words, signature = "".join(self._pieces), "".join(self._signature)
        if isinstance(self.part, ToolCall):
            return replace(self.part, arguments=words, signature=signature)
        if isinstance(self.part, Reasoning):
            return Reasoning(words, signature)
        return replace(self.part, text=words, citations=tuple(self.citations))


def assemble(deltas: list[Delta]) -> Answer:
    """The whole answer of these pieces."""
    assembler = Assembler()
    for delta in deltas:
        assembler.add(delta)
    return assembler.answer()


def pieces(answer: Answer) -> list[Delta]:
    """A whole answer as a stream would bring it: for a caller who wants a stream of what came at once."""
    deltas: list[Delta] = []
    calls, before = 0, None
    for part in answer.parts:
        if isinstance(part, Text):
            deltas += [Delta(ends=True)] if isinstance(before, Text) else []
            deltas.append(Delta(text=part.text, refused=part.refused))
            deltas += [Delta(citation=citation) for citation in part.citations]
        elif isinstance(part, Reasoning):
            deltas.append(Delta(reasoning=part.text, signature=part.signature))
        elif isinstance(part, ToolCall):
            deltas.append(Delta(tool_call=ToolCallDelta(calls, part.call_id, part.name, part.arguments, part.signature)))
            calls += 1
        elif isinstance(part, Foreign):
            deltas.append(Delta(part=part))
        before = part
    end = Delta(finish=answer.finish, usage=answer.usage, model=answer.model, stop_sequence=answer.stop_sequence)
    return [*deltas, end]
