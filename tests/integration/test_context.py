"""The context service through its real server and files: every call, every refusal, repeats, restart, events told."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from tooloo.context.v1 import context_service_pb2 as api
from tooloo.context.v1 import repository_pb2, source_file_pb2
from tooloo.context.v1.context_events_pb2 import ContextIndexed, ContextStale

from mesh import errors
from services.context.flows.keeping import Keeper
from services.context.settings import ContextSettings
from tests.integration.context_bench import TREE, Index, running, write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small source tree."""
    return write_tree(tmp_path / "trees" / "demo", TREE)


@pytest.fixture
async def index(tmp_path: Path, tree: Path) -> AsyncIterator[Index]:
    """A running service that may index the trees."""
    async with running(tmp_path / "var", tmp_path / "trees") as started:
        yield started


def _reason(failure: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[grpc.StatusCode, str]:
    info = error_details_pb2.ErrorInfo()
    assert errors.from_rpc_error(failure.value).details[0].Unpack(info)
    return failure.value.code(), info.reason


async def test_analyze_answers_with_what_was_found(index: Index, tree: Path) -> None:
    """Counts, languages and age come with the first answer; the id is the folder's name."""
    answer = await index.analyze(tree)
    repository = answer.repository
    assert (repository.repo_id, repository.root) == ("demo", str(tree))
    assert (answer.added_files, answer.changed_files, answer.unchanged_files, answer.deleted_files) == (len(TREE), 0, 0, 0)
    assert (repository.files, repository.bytes) == (len(TREE), sum(map(len, TREE.values())))
    assert {total.language: total.files for total in repository.languages} == {"python": 5, "typescript": 2, "markdown": 1}
    assert (repository.imports, repository.resolved_imports) == (4, 4)
    assert not repository.status.stale
    assert repository.status.commit == ""
    assert repository.status.check_time.seconds > 0


async def test_a_relative_path_begins_where_the_mesh_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    """So "." is the folder in which `make dev` was typed."""
    monkeypatch.chdir(tree)
    async with running(tmp_path / "var", Path()) as index:
        assert (await index.analyze(".")).repository.root == str(tree)
        assert (await index.analyze("app", "part")).repository.root == str(tree / "app")


@pytest.mark.parametrize("path", ["/", "/etc", "..", "{tree}/../../outside", "{tree}/README.md", "{tree}/missing", "~"])
async def test_a_path_outside_is_refused(index: Index, tree: Path, path: str) -> None:
    """Whether it exists or not, the refusal is the same, and nothing is kept."""
    (tree.parent.parent / "outside").mkdir()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await index.analyze(path.format(tree=tree))
    assert _reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "PATH_NOT_ALLOWED")
    assert not (await index.stub.ListRepositories(api.ListRepositoriesRequest())).repositories


@pytest.mark.parametrize(
    "request_",
    [
        api.AnalyzeContextRequest(path=""),
        api.AnalyzeContextRequest(path="a\0b"),
        api.AnalyzeContextRequest(path="x" * 5000),
        api.AnalyzeContextRequest(path=".", repo_id="../x"),
        api.AnalyzeContextRequest(path=".", request_id="no uuid"),
    ],
)
async def test_a_malformed_request_is_refused(index: Index, request_: api.AnalyzeContextRequest) -> None:
    """The contract's rules hold."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await index.stub.AnalyzeContext(request_)
    assert _reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_an_id_stands_for_one_folder(index: Index, tree: Path) -> None:
    """Another folder of the same name does not replace the index silently."""
    await index.analyze(tree)
    other = write_tree(tree.parent / "other" / "demo", {"a.py": ""})
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await index.analyze(other)
    assert _reason(failure) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS")
    assert (await index.analyze(other, "demo-2")).repository.files == 1
    assert len(await index.paths("demo")) == len(TREE)


@pytest.mark.parametrize("limit", [{"max_files": "7"}, {"max_tree_bytes": "100"}])
async def test_a_tree_above_a_limit_is_refused_by_name(tmp_path: Path, tree: Path, limit: dict[str, str]) -> None:
    """The refusal names the setting; an index that stood before stands after."""
    small = write_tree(tmp_path / "trees" / "grows", {"a.py": "x = 1\n"})
    async with running(tmp_path / "var", tmp_path / "trees", **limit) as index:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.analyze(tree)
        assert _reason(failure) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        assert f"TOOLOO_CONTEXT_{next(iter(limit)).upper()}" in (failure.value.details() or "")
        await index.analyze(small)
        write_tree(small, TREE)
        with pytest.raises(grpc.aio.AioRpcError):
            await index.analyze(small)
        assert await index.paths("grows") == ["a.py"]
        assert [each.repo_id for each in (await index.stub.ListRepositories(api.ListRepositoriesRequest())).repositories] == [
            "grows"
        ]


async def test_what_is_skipped_is_told(index: Index, tree: Path) -> None:
    """With its reason and an example."""
    (tree / "binary.py").write_bytes(b"\0")
    (tree / "link.py").symlink_to("README.md")
    write_tree(tree, {".gitignore": "*.log\n", "a.log": "x"})
    skipped = {each.reason: list(each.examples) for each in (await index.analyze(tree)).repository.skipped}
    assert skipped == {
        repository_pb2.SKIP_REASON_BINARY: ["binary.py"],
        repository_pb2.SKIP_REASON_SYMLINK: ["link.py"],
        repository_pb2.SKIP_REASON_IGNORED: ["a.log"],
    }


async def test_files_are_listed_and_filtered(index: Index, tree: Path) -> None:
    """By language, by a part of the path in any case, and page by page; LIKE's own letters mean themselves."""
    write_tree(tree, {"odd/100%_sure!.py": ""})
    await index.analyze(tree)
    assert await index.paths("demo", page_size=2) == sorted([*TREE, "odd/100%_sure!.py"])
    assert await index.paths("demo", language="typescript") == ["web/draw.ts", "web/index.ts"]
    assert await index.paths("demo", query="ReadMe") == ["README.md"]
    assert await index.paths("demo", query="0%_s") == await index.paths("demo", query="!") == ["odd/100%_sure!.py"]
    assert await index.paths("demo", query="app%main") == []


async def test_a_page_token_fits_its_query_only(index: Index, tree: Path) -> None:
    """A token of one query, or a made-up one, is refused."""
    await index.analyze(tree)
    first = await index.stub.ListContextFiles(api.ListContextFilesRequest(repo_id="demo", page_size=1))
    for token in (first.next_page_token, "AAAA"):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.stub.ListContextFiles(api.ListContextFilesRequest(repo_id="demo", query="x", page_token=token))
        assert _reason(failure) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_a_file_shows_what_is_in_it(index: Index, tree: Path) -> None:
    """Symbols, imports with where they lead, who imports it; stale as soon as it is written again."""
    await index.analyze(tree)
    request = api.GetContextFileRequest(repo_id="demo", path="app/store.py")
    answer = await index.stub.GetContextFile(request)
    assert [(each.name, each.kind, each.start_line, each.end_line, each.parent) for each in answer.symbols] == [
        ("Store", source_file_pb2.SYMBOL_KIND_CLASS, 4, 6, ""),
        ("get", source_file_pb2.SYMBOL_KIND_METHOD, 5, 6, "Store"),
    ]
    assert [(each.module, each.name, each.target) for each in answer.imports] == [("app.util", "text", "app/util/text.py")]
    assert list(answer.imported_by) == ["app/main.py"]
    assert answer.file.parse_state == source_file_pb2.PARSE_STATE_PARSED
    assert not answer.status.stale
    write_tree(tree, {"app/store.py": "changed\n"})
    assert (await index.stub.GetContextFile(request)).status.stale
    write_tree(tree, {"app/store.py": None})
    assert "gone" in (await index.stub.GetContextFile(request)).status.stale_detail


async def test_symbols_are_found(index: Index, tree: Path) -> None:
    """By a part of the name in any case, by kind and language, page by page."""
    await index.analyze(tree)

    async def names(**query: object) -> list[str]:
        found, token = [], ""
        while True:
            answer = await index.stub.SearchSymbols(
                api.SearchSymbolsRequest(repo_id="demo", page_size=2, page_token=token, **query)  # type: ignore[arg-type]  # by name
            )
            found += [each.name for each in answer.symbols]
            token = answer.next_page_token
            if not token:
                return found

    assert await names() == ["clean", "draw", "get", "LIMIT", "main", "run", "Store", "Tree", "Use"]
    assert await names(query="STO") == ["Store"]
    assert await names(kind=source_file_pb2.SYMBOL_KIND_HEADING) == ["Tree", "Use"]
    assert await names(query="r", language="typescript") == ["draw", "run"]


async def test_the_shape_of_a_repository(index: Index, tree: Path) -> None:
    """Tree with sizes, languages, most central files first; depth and nodes can be bounded."""
    await index.analyze(tree)
    answer = await index.stub.GetRepoStructure(api.GetRepoStructureRequest(repo_id="demo"))
    assert [(node.name, node.folder, node.files) for node in answer.tree.children] == [
        ("app", True, 5), ("web", True, 2), ("README.md", False, 1),
    ]  # fmt: skip
    assert (answer.tree.files, answer.tree.bytes) == (answer.repository.files, answer.repository.bytes)
    assert answer.central_files[0].path == "app/util/text.py"
    assert answer.central_files[0].imported_by == 2
    flat = await index.stub.GetRepoStructure(api.GetRepoStructureRequest(repo_id="demo", depth=1, max_nodes=1, central_files=1))
    assert [(node.name, node.truncated) for node in flat.tree.children] == [("app", True)]
    assert flat.tree.truncated
    assert len(flat.central_files) == 1


async def test_what_was_never_indexed_is_not_found(index: Index) -> None:
    """Every call that names a repository says so."""
    calls: list[Awaitable[object]] = [
        index.stub.ListContextFiles(api.ListContextFilesRequest(repo_id="none")),
        index.stub.GetContextFile(api.GetContextFileRequest(repo_id="none", path="a")),
        index.stub.SearchSymbols(api.SearchSymbolsRequest(repo_id="none")),
        index.stub.GetRepoStructure(api.GetRepoStructureRequest(repo_id="none")),
        index.stub.GetRepository(api.GetRepositoryRequest(repo_id="none")),
        index.stub.DeleteIndex(api.DeleteIndexRequest(repo_id="none")),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call
        assert _reason(failure) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_the_same_request_id_indexes_once(index: Index, tree: Path) -> None:
    """The second answer is the first one, although the tree has changed in between."""
    request_id = str(uuid4())
    first = await index.analyze(tree, request_id=request_id)
    write_tree(tree, {"new.py": ""})
    assert await index.analyze(tree, request_id=request_id) == first
    assert "new.py" not in await index.paths("demo")
    assert len(await index.running.told()) == 1


async def test_an_index_survives_a_restart(index: Index, tree: Path) -> None:
    """All of it, and nothing has to be parsed again to answer."""
    await index.analyze(tree)
    before = await index.everything("demo")
    await index.running.restart()
    assert await index.everything("demo") == before
    assert (await index.analyze(tree)).unchanged_files == len(TREE)


async def test_delete_forgets_and_leaves_no_rows(index: Index, tree: Path) -> None:
    """The folder stays; the rows are swept; the id is free for another folder."""
    await index.analyze(tree)
    request = api.DeleteIndexRequest(repo_id="demo", request_id=str(uuid4()))
    assert (await index.stub.DeleteIndex(request)).deleted_files == len(TREE)
    assert (await index.stub.DeleteIndex(request)).deleted_files == len(TREE)
    assert (tree / "README.md").exists()
    await Keeper(index.running.host, ContextSettings()).sweep()
    for table in ("files", "symbols", "imports", "targets", "folders", "central_files", "repositories"):
        (count,) = await index.running.host.db.read(lambda tx, name=table: tx.fetch_all(f"SELECT COUNT(*) FROM {name}"))  # type: ignore[misc] # noqa: S608 # a table of the list above
        assert count[0] == 0, table
    other = write_tree(tree.parent / "else", {"a.py": ""})
    assert (await index.analyze(other, "demo")).repository.files == 1


async def test_repositories_are_listed(index: Index, tree: Path) -> None:
    """By id, page by page."""
    for repo_id in ("b", "a", "c"):
        await index.analyze(tree, repo_id)
    first = await index.stub.ListRepositories(api.ListRepositoriesRequest(page_size=2))
    second = await index.stub.ListRepositories(api.ListRepositoriesRequest(page_size=2, page_token=first.next_page_token))
    assert [each.repo_id for each in (*first.repositories, *second.repositories)] == ["a", "b", "c"]
    assert second.next_page_token == ""
    got = await index.stub.GetRepository(api.GetRepositoryRequest(repo_id="a"))
    assert (got.repository.repo_id, got.repository.files) == ("a", len(TREE))


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


async def test_context_indexed_is_told(index: Index, tree: Path) -> None:
    """Each run tells what the index has and what was new in it."""
    _git(tree, "init", "-q")
    _git(tree, "add", ".")
    _git(tree, "commit", "-q", "-m", "first")
    await index.analyze(tree)
    write_tree(tree, {"new.py": "x = 1\n", "web/draw.ts": None})
    await index.analyze(tree)
    first, second = await index.running.told()
    assert (first.type, first.subject) == ("context.indexed", "repositories/demo")
    told = [ContextIndexed.FromString(event.data.value) for event in (first, second)]
    assert [(each.files, each.added_files, each.deleted_files) for each in told] == [(len(TREE), len(TREE), 0), (len(TREE), 1, 1)]
    assert told[0].commit == _git(tree, "rev-parse", "HEAD")
    assert told[0].symbols == 9


async def test_another_commit_makes_the_index_stale(index: Index, tree: Path) -> None:
    """Answers say so at once; context.stale is told once for each commit; indexing again makes it current."""
    _git(tree, "init", "-q")
    _git(tree, "add", ".")
    _git(tree, "commit", "-q", "-m", "first")
    await index.analyze(tree)
    keeper = Keeper(index.running.host, ContextSettings())
    await keeper.watch()
    assert len(await index.running.told()) == 1
    _git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    assert (await index.stub.ListContextFiles(api.ListContextFilesRequest(repo_id="demo"))).status.stale
    await keeper.watch()
    await keeper.watch()
    told = [ContextStale.FromString(event.data.value) for event in await index.running.told() if event.type == "context.stale"]
    assert [each.head_commit for each in told] == [_git(tree, "rev-parse", "HEAD")]
    assert not (await index.analyze(tree)).repository.status.stale


async def test_a_folder_that_is_gone_makes_the_index_stale(index: Index, tree: Path) -> None:
    """The index still answers, and says what it is worth."""
    await index.analyze(tree)
    tree.rename(tree.parent / "moved")
    answer = await index.stub.GetRepository(api.GetRepositoryRequest(repo_id="demo"))
    assert answer.repository.status.stale
    assert answer.repository.files == len(TREE)


async def test_the_shape_of_a_folder(index: Index, tree: Path) -> None:
    """Only what is below it, depth counted from it, with ranks that add up; a folder whose name begins alike is not in it."""
    write_tree(tree, {"app2/other.py": "x = 1\n"})
    await index.analyze(tree)
    whole = await index.stub.GetRepoStructure(api.GetRepoStructureRequest(repo_id="demo", depth=16))
    app = next(child for child in whole.tree.children if child.name == "app")
    answer = await index.stub.GetRepoStructure(api.GetRepoStructureRequest(repo_id="demo", folder="app", depth=1))
    assert (answer.tree.name, answer.tree.files, answer.tree.bytes) == ("app", app.files, app.bytes)
    assert {child.name for child in answer.tree.children} == {child.name for child in app.children}
    inner = next(child for child in answer.tree.children if child.folder)
    assert (len(inner.children), inner.truncated) == (0, True)
    assert whole.tree.rank == pytest.approx(sum(each.rank for each in whole.central_files))
    assert 0 < app.rank < whole.tree.rank
    assert answer.tree.rank == pytest.approx(app.rank)
    assert sum(child.rank for child in answer.tree.children) == pytest.approx(answer.tree.rank)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await index.stub.GetRepoStructure(api.GetRepoStructureRequest(repo_id="demo", folder="app/nowhere"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
