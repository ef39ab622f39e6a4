"""What a worker process and the service say to each other about a file, as JSON."""

from typing import Any

from services.context.parsing import Import, Kind, Parsed, State, Symbol
from services.context.reading import Read
from services.context.walking import Reason


def pack(path: str, outcome: Read | Reason) -> dict[str, Any]:
    """A JSON object of what came of a file."""
    if isinstance(outcome, Reason):
        return {"path": path, "reason": int(outcome)}
    return {
        "path": path,
        "size": outcome.size,
        "lines": outcome.lines,
        "language": outcome.language,
        "hash": outcome.content_hash,
        "parsed": _pack_parsed(outcome.parsed) if outcome.parsed else None,
    }


def _pack_parsed(parsed: Parsed) -> list[Any]:
    symbols = [[each.name, int(each.kind), each.start_line, each.end_line, each.parent] for each in parsed.symbols]
    return [symbols, [[each.module, each.name, each.line] for each in parsed.imports], int(parsed.state)]


def unpack(packed: dict[str, Any]) -> tuple[str, Read | Reason]:
    """The path, and what came of it."""
    path = packed["path"]
    if "reason" in packed:
        return path, Reason(packed["reason"])
    parsed = _unpack_parsed(*packed["parsed"]) if packed["parsed"] else None
    return path, Read(path, packed["size"], packed["lines"], packed["language"], packed["hash"], parsed)


def _unpack_parsed(symbols: list[Any], imports: list[Any], state: int) -> Parsed:
    return Parsed(
        tuple(Symbol(name, Kind(kind), start, end, parent) for name, kind, start, end, parent in symbols),
        tuple(Import(*each) for each in imports),
        State(state),
    )
