"""gRPC in, index, gRPC out."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
from tooloo.context.v1 import context_service_pb2 as api
from tooloo.context.v1.context_service_pb2_grpc import ContextServiceServicer
from tooloo.context.v1.repository_pb2 import IndexStatus

from mesh import errors, page
from mesh.clock import MICROSECOND, to_us
from mesh.db import Row, Transaction
from mesh.host import Host
from services.context import store_queries, store_runs, wire
from services.context.flows.runs import Request, Runs, Watched, not_allowed
from services.context.freshness import look, why_stale
from services.context.paths import PathNotAllowed, allowed_folder, default_id
from services.context.settings import ContextSettings
from services.context.store import Repository
from services.context.structure import Entry, Node, Totals, depth_of, tree
from services.context.walking import times

Context = grpc.aio.ServicerContext[object, object]
_DEPTH, _NODES, _CENTRAL, _IMPORTERS = 3, 1000, 10, 1000


class ContextService(ContextServiceServicer):
    """Answers tooloo.context.v1.ContextService; relative paths begin at `base`."""

    def __init__(self, host: Host, settings: ContextSettings, runs: Runs, base: Path) -> None:
        self._host = host
        self._settings = settings
        self._runs = runs
        self._base = base

    async def AnalyzeContext(self, request: api.AnalyzeContextRequest, context: Context) -> api.AnalyzeContextResponse:
        """Indexes a folder or brings its index up to date."""
        known = await self._host.answered(request, api.AnalyzeContextResponse)
        if known is not None:
            return known
        root = await self._root(request)
        return await self._runs.analyze(request, request.repo_id or default_id(root), root)

    async def IndexRepository(
        self, request: api.IndexRepositoryRequest, context: Context
    ) -> AsyncIterator[api.IndexRepositoryResponse]:
        """The same, telling how far it is."""
        known = await self._host.answered(request, api.AnalyzeContextResponse)
        if known is not None:
            yield api.IndexRepositoryResponse(result=known)
            return
        root = await self._root(request)
        given = request.heartbeat.ToTimedelta() if request.HasField("heartbeat") else self._settings.progress_heartbeat
        begun = False
        async for watched in self._runs.watch(request, request.repo_id or default_id(root), root, given.total_seconds()):
            # over REST nobody sees the status of a stream that has begun, so the last message has it too
            if begun or not watched.error:
                yield _message(watched)
            if watched.error:
                raise watched.error
            begun = True

    async def _root(self, request: Request) -> Path:
        try:
            return await asyncio.to_thread(allowed_folder, request.path, self._base, self._settings.roots)
        except PathNotAllowed:
            raise not_allowed() from None

    async def ListContextFiles(self, request: api.ListContextFilesRequest, context: Context) -> api.ListContextFilesResponse:
        """Lists files by path."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        after = _text(page.decode_token(request.page_token, query).get("path", ""))

        async def read(tx: Transaction) -> tuple[Repository, list[Row]]:
            at = await _shown(tx, request.repo_id)
            return at, await store_queries.list_files(tx, at, request.language, _containing(request.query), after, size + 1)

        at, rows = await self._host.db.read(read)
        token = page.encode_token({"path": rows[size - 1]["path"]}, query) if len(rows) > size else ""
        return api.ListContextFilesResponse(
            files=map(wire.source_file, rows[:size]), next_page_token=token, status=await _status(at)
        )

    async def GetContextFile(self, request: api.GetContextFileRequest, context: Context) -> api.GetContextFileResponse:
        """Gets one file with what is in it and who imports it."""

        async def read(tx: Transaction) -> tuple[Repository, Row, api.GetContextFileResponse]:
            at = await _shown(tx, request.repo_id)
            row = await store_queries.find_file(tx, at, request.path)
            if row is None:
                raise errors.not_found("file", f"{request.repo_id}/{request.path}")
            symbols = await store_queries.symbols_of(tx, row["file_id"])
            return (
                at,
                row,
                api.GetContextFileResponse(
                    file=wire.source_file(row),
                    symbols=[wire.symbol(symbol, "") for symbol in symbols],
                    imports=map(wire.imported, await store_queries.imports_of(tx, at, row["file_id"])),
                    imported_by=await store_queries.importers_of(tx, at, request.path, _IMPORTERS),
                ),
            )

        at, row, answer = await self._host.db.read(read)
        answer.status.CopyFrom(wire.status(at, await asyncio.to_thread(_file_stale, at, row)))
        return answer

    async def SearchSymbols(self, request: api.SearchSymbolsRequest, context: Context) -> api.SearchSymbolsResponse:
        """Finds symbols by a part of their names."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        cursor = page.decode_token(request.page_token, query)
        after = _text(cursor.get("name", "")), _text(cursor.get("path", "")), _number(cursor.get("place", -1))

        async def read(tx: Transaction) -> tuple[Repository, list[Row]]:
            at = await _shown(tx, request.repo_id)
            pattern = _containing(request.query)
            return at, await store_queries.search_symbols(tx, at, pattern, request.kind, request.language, after, size + 1)

        at, rows = await self._host.db.read(read)
        last = rows[size - 1] if len(rows) > size else None
        token = (
            page.encode_token({"name": last["search_name"], "path": last["path"], "place": last["place"]}, query) if last else ""
        )
        return api.SearchSymbolsResponse(
            symbols=[wire.symbol(row, row["path"]) for row in rows[:size]], next_page_token=token, status=await _status(at)
        )

    async def GetRepoStructure(self, request: api.GetRepoStructureRequest, context: Context) -> api.GetRepoStructureResponse:
        """Shows a repository's shape."""

        async def read(tx: Transaction) -> tuple[Repository, list[Row], Node, list[Row]]:
            at = await _shown(tx, request.repo_id)
            languages = await store_queries.language_totals(tx, at)
            central = await store_queries.central_files(tx, at, request.central_files or _CENTRAL)
            return at, languages, await _tree(tx, at, request), central

        at, languages, root, central = await self._host.db.read(read)
        sight = await asyncio.to_thread(look, at.root)
        return api.GetRepoStructureResponse(
            repository=wire.repository(at, languages, sight), tree=wire.tree(root), central_files=map(wire.central_file, central)
        )

    async def ListRepositories(self, request: api.ListRepositoriesRequest, context: Context) -> api.ListRepositoriesResponse:
        """Lists the indexed repositories by id."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        after = _text(page.decode_token(request.page_token, query).get("repo_id", ""))
        found = await self._host.db.read(partial(store_queries.list_repositories, after=after, limit=size + 1))
        sights = [await asyncio.to_thread(look, each.root) for each in found[:size]]
        return api.ListRepositoriesResponse(
            repositories=[wire.repository(each, [], sight) for each, sight in zip(found[:size], sights, strict=True)],
            next_page_token=page.encode_token({"repo_id": found[size - 1].repo_id}, query) if len(found) > size else "",
        )

    async def GetRepository(self, request: api.GetRepositoryRequest, context: Context) -> api.GetRepositoryResponse:
        """Gets one indexed repository."""

        async def read(tx: Transaction) -> tuple[Repository, list[Row]]:
            at = await _shown(tx, request.repo_id)
            return at, await store_queries.language_totals(tx, at)

        at, languages = await self._host.db.read(read)
        sight = await asyncio.to_thread(look, at.root)
        return api.GetRepositoryResponse(repository=wire.repository(at, languages, sight))

    async def DeleteIndex(self, request: api.DeleteIndexRequest, context: Context) -> api.DeleteIndexResponse:
        """Forgets an index; its rows are swept afterwards."""

        async def effect(tx: Transaction) -> api.DeleteIndexResponse:
            at = await _shown(tx, request.repo_id)
            now_us, lease_us = to_us(self._host.clock.now()), self._settings.run_lease // MICROSECOND
            if await store_runs.is_indexed_now(tx, request.repo_id, now_us, lease_us):
                raise errors.failed_precondition(f"repositories/{request.repo_id}", "it is being indexed; delete it afterwards")
            await store_queries.delete_repository(tx, request.repo_id)
            tx.after_commit(self._runs.after_run)
            return api.DeleteIndexResponse(deleted_files=at.files)

        return await self._host.once(request, api.DeleteIndexResponse, effect)


def _message(watched: Watched) -> api.IndexRepositoryResponse:
    progress, error = wire.progress(watched.progress, watched.seconds), watched.error
    return api.IndexRepositoryResponse(progress=progress, result=watched.answer, error=error.status() if error else None)


async def _shown(tx: Transaction, repo_id: str) -> Repository:
    at = await store_queries.shown_repository(tx, repo_id)
    if at is None:
        raise errors.not_found("repository", repo_id)
    return at


async def _tree(tx: Transaction, at: Repository, request: api.GetRepoStructureRequest) -> Node:
    """What is below the folder that was asked for; NOT_FOUND when there is none."""
    folder = request.folder
    root = await store_queries.shape_root(tx, at, folder)
    if root is None and folder:
        raise errors.not_found("folder", f"{request.repo_id}/{folder}")
    depth = depth_of(folder) + (request.depth or _DEPTH)
    entries = await store_queries.shape_entries(tx, at, folder, depth, request.max_nodes or _NODES)
    ranks = await store_queries.ranks_below(tx, at, folder)
    return tree(_totals(root) if root else Totals(), [_entry(row) for row in entries], folder, ranks)


async def _status(at: Repository) -> IndexStatus:
    sight = await asyncio.to_thread(look, at.root)
    return wire.status(at, why_stale(at.commit_id, sight))


def _file_stale(at: Repository, row: Row) -> str:
    """Compares one file on disk with the index."""
    try:
        status = (Path(at.root) / row["path"]).stat(follow_symlinks=False)
    except OSError:
        return "the file is gone or cannot be read"
    same = (status.st_size, *times(status)) == (row["bytes"], row["mtime_ns"], row["ctime_ns"])
    return "" if same else "the file was written since it was indexed"


def _containing(text: str) -> str:
    """A LIKE pattern for what contains a text, in lower case as the store keeps it."""
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return f"%{text.lower()}%"


def _totals(row: Row) -> Totals:
    return Totals(row["files"], row["bytes"], row["lines"])


def _entry(row: Row) -> Entry:
    return Entry(row["path"], bool(row["is_folder"]), _totals(row), row["language"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
