"""The events of a response, written for a caller: items one after the other, calls side by side as they come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from services.provider.chat import Delta, Finish, Reasoning, Text, ToolCall, ToolCallDelta, Usage
from services.provider.dialects.base import encode
from services.provider.dialects.framing import write_event
from services.provider.dialects.responses import answers

_ENDS = {"completed": "response.completed", "incomplete": "response.incomplete"}


@dataclass
class _Item:
    """An item of the output as far as it came; what is `open` may still grow."""

    index: int
    item_id: str
    # of this kind, without words
    empty: Text | Reasoning | ToolCall
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    open: bool = True

    @property
    def words(self) -> str:
        """What it says, or the arguments of a call."""
        return "".join(self.pieces)

    def shown(self, status: str = "completed") -> dict[str, Any]:
        """As the output shows it."""
        if isinstance(self.empty, ToolCall):
            return answers.item(replace(self.empty, arguments=self.words, signature=self.signature), self.item_id, status)
        if isinstance(self.empty, Reasoning):
            return answers.item(Reasoning(self.words, self.signature), self.item_id, status)
        return answers.item(replace(self.empty, text=self.words), self.item_id, status)

    @property
    def place(self) -> dict[str, Any]:
        """Names it in an event."""
        return {"item_id": answers.id_of(self.empty, self.item_id), "output_index": self.index}


class Writer:
    """Writes events with running numbers; the last one holds the whole response."""

    def __init__(self, shown: Mapping[str, Any], query_id: str, created: int, model: str) -> None:
        self._query_id = query_id
        self._response = answers.response(shown, query_id, created, model)
        self._number = 0
        self._items: list[_Item] = []
        self._calls: dict[int, _Item] = {}
        self._finish, self._usage, self._refused = Finish.STOP, Usage(), False

    def write(self, delta: Delta) -> bytes:
        """The events of one delta."""
        self._usage, self._finish = delta.usage or self._usage, delta.finish or self._finish
        out = [self._begin()]
        if delta.reasoning or delta.signature:
            out.append(self._think(delta.reasoning, delta.signature))
        if delta.ends and self._items and isinstance(self._items[-1].empty, Text):
            out.append(self._close(self._items[-1]))
        if delta.text:
            out.append(self._say(delta.text, Text("", refused=delta.refused)))
        if delta.tool_call:
            out.append(self._call(delta.tool_call))
        return b"".join(out)

    def end(self) -> bytes:
        """The ends of the open items, and the whole response."""
        closed = self._begin() + b"".join(map(self._close, self._items))
        whole = self._response | answers.ended(
            [item.shown() for item in self._items], self._finish, self._usage, refused=self._refused
        )
        return closed + self._event(_ENDS[whole["status"]], response=whole)

    def error(self, body: dict[str, Any]) -> bytes:
        """An error in the middle: the official client raises it, for the event has `error`."""
        told = {name: body["error"][name] for name in ("code", "message", "param")}
        return self._event("error", **told, **body)

    def _begin(self) -> bytes:
        if self._number:
            return b""
        return self._event("response.created", response=self._response) + self._event(
            "response.in_progress", response=self._response
        )

    def _think(self, words: str, signature: str) -> bytes:
        item, out = self._newest(Reasoning(""))
        if words and not item.pieces:
            part = answers.summary_text("")
            out += self._event("response.reasoning_summary_part.added", **item.place, summary_index=0, part=part)
        if words:
            item.pieces.append(words)
            out += self._event("response.reasoning_summary_text.delta", **item.place, summary_index=0, delta=words)
        if signature:
            item.signature += signature
            out += self._close(item)
        return out

    def _say(self, words: str, empty: Text) -> bytes:
        item, out = self._newest(empty)
        if out:
            out += self._event("response.content_part.added", **item.place, content_index=0, part=answers.content_of(empty))
        item.pieces.append(words)
        if empty.refused:
            self._refused = True
            return out + self._event("response.refusal.delta", **item.place, content_index=0, delta=words)
        return out + self._event("response.output_text.delta", **item.place, content_index=0, delta=words, logprobs=[])

    def _call(self, call: ToolCallDelta) -> bytes:
        """A piece of a call; calls may come interleaved, and each stays open to the end."""
        item, out = self._calls.get(call.index), b""
        if item is None:
            item, out = self._add(ToolCall(call.call_id, call.name, ""))
            self._calls[call.index] = item
        item.signature += call.signature
        if not call.arguments:
            return out
        item.pieces.append(call.arguments)
        return out + self._event("response.function_call_arguments.delta", **item.place, delta=call.arguments)

    def _newest(self, empty: Text | Reasoning) -> tuple[_Item, bytes]:
        """The last item when it is open and of this kind; else a new one, with the events that begin it."""
        last = self._items[-1] if self._items else None
        if last is not None and last.open and last.empty == empty:
            return last, b""
        return self._add(empty)

    def _add(self, empty: Text | Reasoning | ToolCall) -> tuple[_Item, bytes]:
        """A new item; one before it that is no call has ended."""
        last = self._items[-1] if self._items else None
        closed = b"" if last is None or isinstance(last.empty, ToolCall) else self._close(last)
        item = _Item(len(self._items), f"{self._query_id}_{len(self._items)}", empty)
        self._items.append(item)
        return item, closed + self._event("response.output_item.added", output_index=item.index, item=item.shown("in_progress"))

    def _close(self, item: _Item) -> bytes:
        if not item.open:
            return b""
        item.open = False
        words, ended = item.words, b""
        if isinstance(item.empty, Text):
            part = answers.content_of(replace(item.empty, text=words))
            if item.empty.refused:
                ended = self._event("response.refusal.done", **item.place, content_index=0, refusal=words)
            else:
                ended = self._event("response.output_text.done", **item.place, content_index=0, text=words, logprobs=[])
            ended += self._event("response.content_part.done", **item.place, content_index=0, part=part)
        elif isinstance(item.empty, ToolCall):
            ended = self._event("response.function_call_arguments.done", **item.place, name=item.empty.name, arguments=words)
        elif words:
            ended = self._event("response.reasoning_summary_text.done", **item.place, summary_index=0, text=words)
            part = answers.summary_text(words)
            ended += self._event("response.reasoning_summary_part.done", **item.place, summary_index=0, part=part)
        return ended + self._event("response.output_item.done", output_index=item.index, item=item.shown())

    def _event(self, kind: str, **fields: Any) -> bytes:
        numbered = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return write_event(encode(numbered), kind)
