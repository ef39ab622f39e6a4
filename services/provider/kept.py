"""Answers as they are kept for callers who ask again: all of an answer, so that the repeat is the first one to the letter."""

import json
from typing import Any

from msgspec.structs import asdict, fields

from services.provider.chat import Answer, Finish, Foreign, Part, Reasoning, Text, ToolCall

# what stands in answers; names are kept in rows, so they stay
_KINDS: dict[str, type[Text | ToolCall | Reasoning | Foreign]] = {
    "text": Text,
    "tool_call": ToolCall,
    "reasoning": Reasoning,
    "foreign": Foreign,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def write(answer: Answer) -> bytes:
    """The answer without its usage, which its query has."""
    parts = [_written(part) for part in answer.parts if type(part) in _NAMES]
    told = {"parts": parts, "finish": int(answer.finish), "stop_sequence": answer.stop_sequence}
    # an answer that is paid for is not lost to half of a surrogate pair in a part that nobody here reads
    return _ENCODE(told).encode(errors="replace")


def is_kept(data: bytes) -> bool:
    """Whether `write` made it; before, messages of the contract were kept, which never begin so."""
    return data.startswith(b"{")


def read(data: bytes) -> Answer:
    """The answer."""
    told = json.loads(data)
    parts = tuple(_read(part) for part in told["parts"])
    return Answer(parts, Finish(told["finish"]), stop_sequence=told["stop_sequence"])


def _written(part: Part) -> dict[str, Any]:
    """A part as an object of what is not as usual."""
    said = {name: value for name, value in asdict(part).items() if value not in ("", False, ())}
    return {"is": _NAMES[type(part)], **said}  # type: ignore[index]


def _read(told: dict[str, Any]) -> Part:
    kind = _KINDS[told.pop("is")]
    given: dict[str, Any] = {field.name: "" for field in fields(kind) if field.type is str}
    given |= {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return kind(**given)
