"""Statements that publish and forget indexes, and those that answer calls."""

import json
from collections.abc import Mapping

from mesh.db import Row, Transaction
from services.context.store import FOREVER, Repository, repository
from services.context.structure import depth_of
from services.context.walking import Reason

_BATCH = 500


def _shown(at: Repository) -> dict[str, object]:
    return {"index_id": at.index_id, "generation": at.generation}


async def publish(
    tx: Transaction,
    at: Repository,
    generation: int,
    resolved_imports: int,
    skipped: Mapping[Reason, tuple[int, list[str]]],
    commit_id: str,
    now_us: int,
    duration_us: int,
) -> None:
    """Shows a generation, with its totals; an unchanged index keeps its generation and its index_us."""
    totals = await tx.fetch_one(
        "SELECT COUNT(*) AS files, COALESCE(SUM(bytes), 0) AS bytes, COALESCE(SUM(lines), 0) AS lines,"
        " COALESCE(SUM(symbols), 0) AS symbols, COALESCE(SUM(imports), 0) AS imports FROM files"
        " WHERE index_id = :index_id AND born <= :generation AND died > :generation",
        {"index_id": at.index_id, "generation": generation},
    )
    await tx.execute(
        "UPDATE repositories SET generation = :generation, files = :files, bytes = :bytes, lines = :lines, symbols = :symbols,"
        " imports = :imports, resolved_imports = :resolved_imports, skipped = :skipped, commit_id = :commit_id,"
        " index_us = :index_us, check_us = :check_us, duration_us = :duration_us, stale_told = '' WHERE repo_id = :repo_id",
        {
            **dict(totals or {}),
            "repo_id": at.repo_id,
            "generation": generation,
            "resolved_imports": resolved_imports,
            "skipped": json.dumps([[int(reason), count, examples] for reason, (count, examples) in sorted(skipped.items())]),
            "commit_id": commit_id,
            "index_us": at.index_us if generation == at.generation else now_us,
            "check_us": now_us,
            "duration_us": duration_us,
        },
    )


async def remember_stale(tx: Transaction, repo_id: str, check_us: int, head: str) -> bool:
    """Keeps that staleness was told; False when the index was compared again in between."""
    changed = await tx.execute(
        "UPDATE repositories SET stale_told = :head WHERE repo_id = :repo_id AND check_us = :check_us",
        {"repo_id": repo_id, "check_us": check_us, "head": head},
    )
    return changed == 1


async def delete_repository(tx: Transaction, repo_id: str) -> None:
    """Forgets a repository; its rows are swept later."""
    await tx.execute("DELETE FROM repositories WHERE repo_id = :repo_id", {"repo_id": repo_id})


async def sweepable(tx: Transaction) -> list[tuple[int, int]]:
    """Each index that has files, with the generation up to which ended ones may go: all of them when it is forgotten."""
    rows = await tx.fetch_all(
        "SELECT f.index_id, MAX(COALESCE(r.generation, :forever)) AS generation FROM files f LEFT JOIN repositories r"
        " ON r.index_id = f.index_id GROUP BY f.index_id",
        {"forever": FOREVER},
    )
    return [(row["index_id"], row["generation"]) for row in rows]


async def sweep(tx: Transaction, index_id: int, generation: int) -> int:
    """Deletes a batch of files that ended with this generation or before; gives how many there were."""
    rows = await tx.fetch_all(
        "SELECT file_id FROM files WHERE index_id = :index_id AND died <= :generation LIMIT :limit",
        {"index_id": index_id, "generation": generation, "limit": _BATCH},
    )
    dead = [{"file_id": row["file_id"], "index_id": index_id} for row in rows]
    await tx.execute_many("DELETE FROM symbols WHERE file_id = :file_id", dead)
    await tx.execute_many("DELETE FROM imports WHERE index_id = :index_id AND file_id = :file_id", dead)
    await tx.execute_many("DELETE FROM targets WHERE index_id = :index_id AND file_id = :file_id", dead)
    await tx.execute_many("DELETE FROM files WHERE file_id = :file_id", dead)
    return len(dead)


async def sweep_shapes(tx: Transaction) -> None:
    """Deletes folders, central files and targets that no index shows any more and no run is writing."""
    await tx.execute(
        "DELETE FROM folders WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.index_id = folders.index_id"
        " AND (r.generation = folders.generation OR r.building = folders.generation))"
    )
    await tx.execute(
        "DELETE FROM central_files WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.index_id = central_files.index_id"
        " AND (r.generation = central_files.generation OR r.building = central_files.generation))"
    )
    await tx.execute(
        "DELETE FROM targets WHERE EXISTS (SELECT 1 FROM repositories r WHERE r.index_id = targets.index_id"
        " AND targets.died <= r.generation)"
    )


async def shown_repository(tx: Transaction, repo_id: str) -> Repository | None:
    """The repository when it has an index to show."""
    row = await tx.fetch_one("SELECT * FROM repositories WHERE repo_id = :repo_id AND generation > 0", {"repo_id": repo_id})
    return repository(row) if row else None


async def list_repositories(tx: Transaction, after: str, limit: int) -> list[Repository]:
    """Repositories with an index to show, by id, above `after`."""
    rows = await tx.fetch_all(
        "SELECT * FROM repositories WHERE generation > 0 AND repo_id > :after ORDER BY repo_id LIMIT :limit",
        {"after": after, "limit": limit},
    )
    return [repository(row) for row in rows]


async def language_totals(tx: Transaction, at: Repository) -> list[Row]:
    """language, files, bytes, lines; most bytes first."""
    return await tx.fetch_all(
        "SELECT language, COUNT(*) AS files, SUM(bytes) AS bytes, SUM(lines) AS lines FROM files WHERE index_id = :index_id"
        " AND born <= :generation AND died > :generation GROUP BY language ORDER BY 3 DESC, language",
        _shown(at),
    )


async def list_files(tx: Transaction, at: Repository, language: str, pattern: str, after: str, limit: int) -> list[Row]:
    """Files by path, above `after`; `pattern` is a LIKE pattern with "!" as its escape."""
    return await tx.fetch_all(
        "SELECT path, language, bytes, lines, symbols, imports, state, content_hash FROM files WHERE index_id = :index_id"
        " AND born <= :generation AND died > :generation AND path > :after AND (:language = '' OR language = :language)"
        " AND search_path LIKE :pattern ESCAPE '!' ORDER BY path LIMIT :limit",
        {**_shown(at), "language": language, "pattern": pattern, "after": after, "limit": limit},
    )


async def find_file(tx: Transaction, at: Repository, path: str) -> Row | None:
    """One file with what tells whether it changed since."""
    return await tx.fetch_one(
        "SELECT file_id, path, language, bytes, lines, symbols, imports, state, content_hash, mtime_ns, ctime_ns FROM files"
        " WHERE index_id = :index_id AND born <= :generation AND died > :generation AND path = :path",
        {**_shown(at), "path": path},
    )


async def symbols_of(tx: Transaction, file_id: int) -> list[Row]:
    """Symbols of a file in their order."""
    return await tx.fetch_all(
        "SELECT name, kind, start_line, end_line, parent FROM symbols WHERE file_id = :file_id ORDER BY place", {"file_id": file_id}
    )


async def imports_of(tx: Transaction, at: Repository, file_id: int) -> list[Row]:
    """Imports of a file in their order, with the files they lead to."""
    return await tx.fetch_all(
        "SELECT i.module, i.name, i.line, COALESCE(t.target, '') AS target FROM imports i LEFT JOIN targets t"
        " ON t.index_id = i.index_id AND t.file_id = i.file_id AND t.place = i.place AND t.born <= :generation"
        " AND t.died > :generation WHERE i.index_id = :index_id AND i.file_id = :file_id ORDER BY i.place",
        {**_shown(at), "file_id": file_id},
    )


async def importers_of(tx: Transaction, at: Repository, path: str, limit: int) -> list[str]:
    """Paths of the files that import a file."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT f.path FROM targets t JOIN files f ON f.file_id = t.file_id WHERE t.index_id = :index_id"
        " AND t.target = :path AND t.born <= :generation AND t.died > :generation AND f.born <= :generation"
        " AND f.died > :generation ORDER BY f.path LIMIT :limit",
        {**_shown(at), "path": path, "limit": limit},
    )
    return [row["path"] for row in rows]


async def search_symbols(
    tx: Transaction, at: Repository, pattern: str, kind: int, language: str, after: tuple[str, str, int], limit: int
) -> list[Row]:
    """Symbols by lower-case name, path and place, above `after`; `pattern` is a LIKE pattern with "!" as its escape."""
    return await tx.fetch_all(
        "SELECT s.name, s.search_name, s.kind, s.start_line, s.end_line, s.parent, s.place, f.path FROM symbols s"
        " JOIN files f ON f.file_id = s.file_id WHERE s.index_id = :index_id AND f.born <= :generation AND f.died > :generation"
        " AND s.search_name >= :name AND (s.search_name, f.path, s.place) > (:name, :path, :place)"
        " AND s.search_name LIKE :pattern ESCAPE '!' AND (:kind = 0 OR s.kind = :kind)"
        " AND (:language = '' OR f.language = :language) ORDER BY s.search_name, f.path, s.place LIMIT :limit",
        {
            **_shown(at),
            "pattern": pattern,
            "kind": kind,
            "language": language,
            "name": after[0],
            "path": after[1],
            "place": after[2],
            "limit": limit,
        },
    )


async def shape_root(tx: Transaction, at: Repository, folder: str) -> Row | None:
    """Totals of the whole tree, or of what is below a folder: files, bytes, lines."""
    return await tx.fetch_one(
        "SELECT files, bytes, lines FROM folders WHERE index_id = :index_id AND generation = :generation AND depth = :depth"
        " AND path = :folder",
        {**_shown(at), "folder": folder, "depth": depth_of(folder)},
    )


def _below(folder: str) -> dict[str, object]:
    """Bounds of the paths below a folder: "0" comes right after "/"."""
    return {"from": f"{folder}/" if folder else "", "to": f"{folder}0" if folder else "\U0010ffff"}


async def shape_entries(tx: Transaction, at: Repository, folder: str, depth: int, limit: int) -> list[Row]:
    """What is below a folder ("": the root) down to a depth, upper levels first: path, is_folder, language, files, bytes, lines."""
    return await tx.fetch_all(
        "SELECT path, 1 AS is_folder, '' AS language, files, bytes, lines, depth FROM folders WHERE index_id = :index_id"
        " AND generation = :generation AND depth > 0 AND depth <= :depth AND path >= :from AND path < :to UNION ALL"
        " SELECT path, 0 AS is_folder, language, 1 AS files, bytes, lines, depth FROM files WHERE index_id = :index_id"
        " AND born <= :generation AND died > :generation AND depth <= :depth AND path >= :from AND path < :to"
        " ORDER BY depth, is_folder DESC, path LIMIT :limit",
        {**_shown(at), **_below(folder), "depth": depth, "limit": limit},
    )


async def ranks_below(tx: Transaction, at: Repository, folder: str) -> dict[str, float]:
    """Rank of each central file below a folder ("": the root), by path."""
    rows = await tx.fetch_all(
        "SELECT path, score FROM central_files WHERE index_id = :index_id AND generation = :generation"
        " AND path >= :from AND path < :to",
        {**_shown(at), **_below(folder)},
    )
    return {row["path"]: row["score"] for row in rows}


async def central_files(tx: Transaction, at: Repository, limit: int) -> list[Row]:
    """path, score, imported_by; most central first."""
    return await tx.fetch_all(
        "SELECT path, score, imported_by FROM central_files WHERE index_id = :index_id AND generation = :generation"
        " ORDER BY place LIMIT :limit",
        {**_shown(at), "limit": limit},
    )
