"""Statements that write an index, and those that a run reads while it writes.

Which run may write stands in store_runs.py, what answers calls in store_queries.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.db import Row, Transaction
from services.context.centrality import Central
from services.context.comparing import Known
from services.context.parsing import Parsed, State
from services.context.reading import Limits, Read
from services.context.structure import Totals, depth_of
from services.context.walking import Found, Reason

# `died` of a row that nothing has replaced
FOREVER = 2**62


@dataclass(frozen=True)
class Repository:
    """An index as a whole; times in microseconds since the epoch; `skipped` gives count and examples."""

    repo_id: str
    index_id: int
    root: str
    generation: int
    building: int
    files: int
    bytes: int
    lines: int
    symbols: int
    imports: int
    resolved_imports: int
    skipped: Mapping[Reason, tuple[int, list[str]]]
    commit_id: str
    index_us: int
    check_us: int
    duration_us: int
    stale_told: str


@dataclass(frozen=True)
class Link:
    """An import of a file with where it leads in the generation before ("" for nowhere) and since which generation."""

    file_id: int
    place: int
    module: str
    name: str
    target: str
    born: int


def repository(row: Row) -> Repository:
    """A row of repositories."""
    values = dict(row)
    skipped = {Reason(reason): (count, examples) for reason, count, examples in json.loads(values.pop("skipped"))}
    del values["run_id"], values["run_until_us"], values["run_owner"]
    return Repository(**values, skipped=skipped)


async def find_repository(tx: Transaction, repo_id: str) -> Repository | None:
    """The repository, also one whose first run has not ended."""
    row = await tx.fetch_one("SELECT * FROM repositories WHERE repo_id = :repo_id", {"repo_id": repo_id})
    return repository(row) if row else None


async def next_ids(tx: Transaction, name: str, count: int) -> int:
    """Takes `count` numbers in a row; gives the first."""
    row = await tx.fetch_one(
        "UPDATE context_ids SET next_id = next_id + :count WHERE name = :name RETURNING next_id", {"name": name, "count": count}
    )
    if row is None:
        raise LookupError(f"there are no ids for {name}")
    return int(row["next_id"]) - count


async def known_between(tx: Transaction, at: Repository, limits: Limits, after: str, upto: str | None) -> list[Known]:
    """The shown files with paths above `after` up to `upto` (None: to the end), by path.

    Of one that was cut by other limits than those of now no content is known, nor that it was ever read: it has more to show.
    """
    rows = await tx.fetch_all(
        "SELECT file_id, path, bytes, content_hash, mtime_ns, ctime_ns, read_us, state = :truncated AND symbols <> :max_symbols"
        " AND imports <> :max_imports AS cut FROM files WHERE index_id = :index_id"
        " AND born <= :generation AND died > :generation AND path > :after AND (:open = 1 OR path <= :upto) ORDER BY path",
        {
            "index_id": at.index_id,
            "generation": at.generation,
            "truncated": int(State.TRUNCATED),
            "max_symbols": limits.max_symbols,
            "max_imports": limits.max_imports,
            "after": after,
            "open": int(upto is None),
            "upto": upto or "",
        },
    )
    return [
        Known(file_id, path, size, "" if cut else content_hash, mtime_ns, ctime_ns, 0 if cut else read_us)
        for file_id, path, size, content_hash, mtime_ns, ctime_ns, read_us, cut in rows
    ]


async def retire_files(tx: Transaction, generation: int, file_ids: Sequence[int]) -> None:
    """Ends files with this generation."""
    rows = [{"file_id": file_id, "died": generation} for file_id in file_ids]
    await tx.execute_many("UPDATE files SET died = :died WHERE file_id = :file_id", rows)


async def touch_file(tx: Transaction, file_id: int, found: Found, read_us: int) -> None:
    """Keeps newer times of a file whose content is the known one."""
    await tx.execute(
        "UPDATE files SET mtime_ns = :mtime_ns, ctime_ns = :ctime_ns, read_us = :read_us WHERE file_id = :file_id",
        {"file_id": file_id, "mtime_ns": found.mtime_ns, "ctime_ns": found.ctime_ns, "read_us": read_us},
    )


async def add_files(tx: Transaction, at: Repository, files: Sequence[tuple[Found, Read, Parsed]], read_us: int) -> None:
    """Adds files, their symbols and imports to the generation that is being built."""
    first = await next_ids(tx, "file", len(files))
    numbered = [(first + place, *file) for place, file in enumerate(files)]
    await tx.execute_many(
        "INSERT INTO files (file_id, index_id, path, search_path, depth, language, bytes, lines, content_hash, mtime_ns, ctime_ns,"
        " read_us, state, symbols, imports, born, died) VALUES (:file_id, :index_id, :path, :search_path, :depth, :language,"
        " :bytes, :lines, :content_hash, :mtime_ns, :ctime_ns, :read_us, :state, :symbols, :imports, :born, :died)",
        [_file_row(at, file_id, found, read, parsed, read_us) for file_id, found, read, parsed in numbered],
    )
    await tx.execute_many(
        "INSERT INTO symbols (index_id, file_id, place, name, search_name, kind, start_line, end_line, parent)"
        " VALUES (:index_id, :file_id, :place, :name, :search_name, :kind, :start_line, :end_line, :parent)",
        [row for file_id, _, _, parsed in numbered for row in _symbol_rows(at.index_id, file_id, parsed)],
    )
    await tx.execute_many(
        "INSERT INTO imports (index_id, file_id, place, module, name, line)"
        " VALUES (:index_id, :file_id, :place, :module, :name, :line)",
        [row for file_id, _, _, parsed in numbered for row in _import_rows(at.index_id, file_id, parsed)],
    )


def _file_row(at: Repository, file_id: int, found: Found, read: Read, parsed: Parsed, read_us: int) -> dict[str, object]:
    return {
        "file_id": file_id,
        "index_id": at.index_id,
        "path": read.path,
        "search_path": read.path.lower(),
        "depth": depth_of(read.path),
        "language": read.language,
        "bytes": read.size,
        "lines": read.lines,
        "content_hash": read.content_hash,
        "mtime_ns": found.mtime_ns,
        "ctime_ns": found.ctime_ns,
        "read_us": read_us,
        "state": int(parsed.state),
        "symbols": len(parsed.symbols),
        "imports": len(parsed.imports),
        "born": at.building,
        "died": FOREVER,
    }


def _symbol_rows(index_id: int, file_id: int, parsed: Parsed) -> list[dict[str, object]]:
    return [
        {
            "index_id": index_id,
            "file_id": file_id,
            "place": place,
            "name": symbol.name,
            "search_name": symbol.name.lower(),
            "kind": int(symbol.kind),
            "start_line": symbol.start_line,
            "end_line": symbol.end_line,
            "parent": symbol.parent,
        }
        for place, symbol in enumerate(parsed.symbols)
    ]


def _import_rows(index_id: int, file_id: int, parsed: Parsed) -> list[dict[str, object]]:
    return [
        {
            "index_id": index_id,
            "file_id": file_id,
            "place": place,
            "module": each.module,
            "name": each.name,
            "line": each.line,
        }
        for place, each in enumerate(parsed.imports)
    ]


async def built_files(tx: Transaction, at: Repository, after: str, limit: int) -> list[Row]:
    """A page of the files of the generation that is being built: file_id, path, language, bytes, lines, by path."""
    return await tx.fetch_all(
        "SELECT file_id, path, language, bytes, lines FROM files WHERE index_id = :index_id AND born <= :building"
        " AND died > :building AND path > :after ORDER BY path LIMIT :limit",
        {"index_id": at.index_id, "building": at.building, "after": after, "limit": limit},
    )


async def built_go_modules(tx: Transaction, at: Repository) -> dict[str, str]:
    """The module that each go.mod names, by its path, in the generation that is being built."""
    rows = await tx.fetch_all(
        "SELECT f.path, s.name FROM files f JOIN symbols s ON s.file_id = f.file_id WHERE f.index_id = :index_id"
        " AND f.born <= :building AND f.died > :building AND f.language = 'gomod'",
        {"index_id": at.index_id, "building": at.building},
    )
    return {row["path"]: row["name"] for row in rows}


async def built_links(tx: Transaction, at: Repository, after: tuple[int, int], limit: int) -> list[Link]:
    """A page of the imports of the generation that is being built, by file and place."""
    rows = await tx.fetch_all(
        "SELECT i.file_id, i.place, i.module, i.name, COALESCE(t.target, '') AS target, COALESCE(t.born, 0) AS born FROM imports i"
        " JOIN files f ON f.file_id = i.file_id LEFT JOIN targets t ON t.index_id = i.index_id AND t.file_id = i.file_id"
        " AND t.place = i.place AND t.died = :forever WHERE i.index_id = :index_id AND f.born <= :building AND f.died > :building"
        " AND (i.file_id, i.place) > (:file_id, :place) ORDER BY i.file_id, i.place LIMIT :limit",
        {
            "index_id": at.index_id,
            "building": at.building,
            "forever": FOREVER,
            "file_id": after[0],
            "place": after[1],
            "limit": limit,
        },
    )
    return [Link(*row) for row in rows]


async def change_targets(tx: Transaction, at: Repository, changed: Sequence[tuple[Link, str]]) -> None:
    """Lets imports lead elsewhere from the generation that is being built on; "" leads nowhere."""
    keys = [{"index_id": at.index_id, "file_id": link.file_id, "place": link.place, "born": link.born} for link, _ in changed]
    await tx.execute_many(
        "UPDATE targets SET died = :died WHERE index_id = :index_id AND file_id = :file_id AND place = :place AND born = :born",
        [{**key, "died": at.building} for key in keys if key["born"]],
    )
    await tx.execute_many(
        "INSERT INTO targets (index_id, file_id, place, target, born, died)"
        " VALUES (:index_id, :file_id, :place, :target, :born, :died)",
        [
            {**key, "target": target, "born": at.building, "died": FOREVER}
            for key, (_, target) in zip(keys, changed, strict=True)
            if target
        ],
    )


async def add_shape(tx: Transaction, at: Repository, folders: Mapping[str, Totals], central: Sequence[Central]) -> None:
    """Adds folders with their totals, and the most central files, of the generation that is being built."""
    base = {"index_id": at.index_id, "generation": at.building}
    await tx.execute_many(
        "INSERT INTO folders (index_id, generation, path, depth, files, bytes, lines)"
        " VALUES (:index_id, :generation, :path, :depth, :files, :bytes, :lines)",
        [{**base, "path": path, "depth": depth_of(path), **vars(totals)} for path, totals in folders.items()],
    )
    await tx.execute_many(
        "INSERT INTO central_files (index_id, generation, place, path, score, imported_by)"
        " VALUES (:index_id, :generation, :place, :path, :score, :imported_by)",
        [
            {**base, "place": place, "path": each.path, "score": each.rank, "imported_by": each.imported_by}
            for place, each in enumerate(central)
        ],
    )
