"""Ordinary changes at the wrong moment: what happens to a tree, or to the machine, while the context service indexes it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import grpc
import pytest

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


async def test_an_index_stays_when_no_parser_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files would be unreadable and the index empty; the run is refused instead, and works when the parser does again."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
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
