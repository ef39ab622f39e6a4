"""Ordinary changes at the wrong moment: what happens to a tree, or to the machine, while the context service indexes it."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest
from tooloo.context.v1 import context_service_pb2 as api

from services.context import store_queries, store_runs
from services.context.flows import linking
from services.context.flows.indexing import Tally
from services.context.resolving import Resolver
from services.context.walking import Reason
from tests.integration.context_bench import TREE, Gate, running, write_tree


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_root_that_is_moved_on_the_way_leaves_the_index_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    """Moved away, and perhaps with another folder in its place: its files are not gone, so the run fails and the index stays."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        await index.analyze(tree)
        before = await index.everything("t")
        gate = Gate(monkeypatch)
        run = asyncio.ensure_future(index.analyze(write_tree(tree, {"new.py": "x = 1\n"})))
        await gate.reached.wait()
        tree.rename(tmp_path / "elsewhere")
        if replaced:
            write_tree(tree, {"README.md": "# Another\n"})
        gate.opened.set()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await run
        assert failure.value.code() is (grpc.StatusCode.ABORTED if replaced else grpc.StatusCode.INVALID_ARGUMENT)
        assert await index.everything("t") == before
        shutil.rmtree(tree, ignore_errors=True)
        (tmp_path / "elsewhere").rename(tree)
        assert (await index.analyze(tree)).repository.files == len(TREE) + 1


@pytest.mark.parametrize(("by", "reason"), [("link", Reason.SYMLINK), ("file", Reason.VANISHED)])
async def test_what_takes_a_folders_place_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, reason: Reason
) -> None:
    """A link could lead out of the roots to files of the same names; a file has none of those that were found."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    outside = write_tree(
        tmp_path / "outside", {"main.py": "def secret(): ...\n", "store.py": "", "util/text.py": "class Secret: ...\n"}
    )
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        run = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        (tree / "app").rename(tmp_path / "elsewhere")
        if by == "link":
            (tree / "app").symlink_to(outside)
        else:
            (tree / "app").write_text("x = 1\n")
        gate.opened.set()
        skipped = {int(each.reason): each.examples for each in (await run).repository.skipped}
        assert {"app/main.py", "app/store.py", "app/util/text.py"} <= set(skipped[reason])
        assert await index.paths("t") == ["README.md", "web/draw.ts", "web/index.ts"]


async def test_an_index_stays_when_no_parser_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files would be unreadable and the index empty; the run is refused instead, and works when the parser does again."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees", worker_idle="0s") as index:
        await index.analyze(tree)
        before = await index.everything("t")
        write_tree(tree, {path: text + "\n" for path, text in TREE.items()})
        with monkeypatch.context() as without:
            without.setattr("services.context.workers.pool.sys.executable", "/bin/false")
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await index.analyze(tree)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await index.everything("t") == before
        assert (await index.analyze(tree)).changed_files == len(TREE)


async def test_a_limit_that_was_raised_shows_what_had_been_cut(tmp_path: Path) -> None:
    """The file is the same, and still there is more of it to show; what was cut by the limit of now is left alone."""
    tree = write_tree(tmp_path / "trees" / "t", {"many.py": "x = 1\n" + "def f(): ...\n" * 9, "few.py": "def f(): ...\n"})
    for limit, symbols, changed in (("3", 3, 0), ("3", 3, 0), ("100", 10, 1), ("100", 10, 0)):
        async with running(tmp_path / "var", tmp_path / "trees", max_symbols=limit) as index:
            answer = await index.analyze(tree)
            assert (answer.repository.symbols - 1, answer.changed_files) == (symbols, changed)


def test_the_first_of_what_is_skipped_are_named_whatever_is_read_first() -> None:
    """Batches are read side by side: the same tree gave other examples each time."""
    tally = Tally()
    for name in "gcafbed":
        tally.skip(name, Reason.BINARY)
    assert tally.skipped == {Reason.BINARY: (7, list("abcde"))}


async def test_a_run_that_is_lost_while_it_links_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another replica's run undoes under its eyes is no fault of its own: ABORTED as at any other moment, not INTERNAL."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        await index.analyze(tree)
        loop, database = asyncio.get_running_loop(), index.running.host.db

        def overtaken(*given: Any) -> Resolver:
            begin = database.write(lambda tx: store_runs.begin_run(tx, "t", str(tree), "another", "", 0))
            asyncio.run_coroutine_threadsafe(begin, loop).result()
            return Resolver(*given)

        monkeypatch.setattr(linking, "Resolver", overtaken)
        write_tree(tree, {"app/main.py": "from app import store\nx = 1\n"})
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.analyze(tree)
        assert failure.value.code() is grpc.StatusCode.ABORTED


async def test_a_file_of_another_age_is_indexed(tmp_path: Path) -> None:
    """Archives and clocks that were wrong leave such times: in nanoseconds they do not fit into 64 bits, which ended the run."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    seconds = (2300 - 1970) * 31_556_952
    os.utime(tree / "README.md", (seconds, seconds))
    if (tree / "README.md").stat().st_mtime != seconds:
        pytest.skip("this file system does not keep such times")
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        assert (await index.analyze(tree)).added_files == len(TREE)
        assert (await index.analyze(tree)).unchanged_files == len(TREE)
        file = await index.stub.GetContextFile(api.GetContextFileRequest(repo_id="t", path="README.md"))
        assert not file.status.stale


async def test_a_run_whose_index_is_deleted_elsewhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another replica does not know that it runs: there is no other run whose answer stands, and nobody will bring one."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        await index.analyze(tree)
        gate = Gate(monkeypatch)
        run = asyncio.ensure_future(index.analyze(write_tree(tree, {"new.py": "x = 1\n"})))
        await gate.reached.wait()
        await index.running.host.db.write(lambda tx: store_queries.delete_repository(tx, "t"))
        gate.opened.set()
        with pytest.raises(grpc.aio.AioRpcError, match="was deleted") as failure:
            await run
        assert failure.value.code() is grpc.StatusCode.ABORTED
