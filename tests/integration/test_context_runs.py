"""Runs of the context service over trees that change: incremental is as good as from scratch, also after a kill in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.context.v1 import context_service_pb2 as api

from mesh import errors
from services.context import store
from tests.integration.context_bench import TREE, Gate, running, write_tree

ROOT = Path(__file__).resolve().parents[2]
PATHS = [
    "a.py",
    "b.py",
    "pkg/__init__.py",
    "pkg/a.py",
    "pkg/sub/b.py",
    "web/a.ts",
    "web/b.ts",
    "bin.py",
    ".gitignore",
    "pkg/.gitignore",
]
CONTENTS = [
    "", "import a\n", "from pkg import a\nclass A:\n  def f(self): ...\n", "from . import a, b\n", "import { x } from './b'\n",
    "pkg/\n", "*.py\n!a.py\n", "\0", "x = 1\n" * 50,
]  # fmt: skip
edits = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([*CONTENTS, None]), min_size=1, max_size=6)


@settings(max_examples=12)
@given(st.lists(edits, min_size=2, max_size=4))
def test_incremental_is_from_scratch(rounds: list[dict[str, str | None]]) -> None:
    """After any edits, the index that was kept up to date answers exactly what a new one answers."""

    async def scenario(folder: Path) -> None:
        async with running(folder / "var", folder / "trees") as index:
            for number, changes in enumerate(rounds):
                tree = write_tree(folder / "trees" / "t", {".keep": "", **changes})
                await index.analyze(tree, "kept")
                await index.analyze(tree, f"new-{number}")
                assert await index.everything("kept") == await index.everything(f"new-{number}")

    with TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


async def test_unchanged_files_are_not_parsed_again(tmp_path: Path) -> None:
    """Neither a file that was only touched nor one that was not; the index keeps its time, the check has a new one."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    for path in TREE:
        os.utime(tree / path, (1_000_000_000, 1_000_000_000))
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        first = await index.analyze(tree)
        os.utime(tree / "README.md", (1_100_000_000, 1_100_000_000))
        second = await index.analyze(tree)
        assert (second.unchanged_files, second.changed_files, second.added_files) == (len(TREE), 0, 0)
        before, after = first.repository.status, second.repository.status
        assert after.index_time == before.index_time
        assert after.check_time.ToNanoseconds() > before.check_time.ToNanoseconds()
        file = await index.stub.GetContextFile(api.GetContextFileRequest(repo_id="t", path="README.md"))
        assert not file.status.stale


async def test_pages_while_the_tree_is_indexed_again(tmp_path: Path) -> None:
    """A file that is there all the time is listed exactly once, whatever is indexed between two pages."""
    names = [f"f{number:02}.py" for number in range(30)]
    tree = write_tree(tmp_path / "trees" / "t", dict.fromkeys(names, "x = 1\n"))
    seen: list[str] = []
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        await index.analyze(tree)
        token = ""
        for step in range(100):
            answer = await index.stub.ListContextFiles(api.ListContextFilesRequest(repo_id="t", page_size=4, page_token=token))
            seen += [file.path for file in answer.files]
            token = answer.next_page_token
            if not token:
                break
            write_tree(tree, {f"new{step}.py": "", names[step * 3]: f"x = {step + 2}\n", names[-1 - step]: "y = 1\n"})
            await index.analyze(tree)
    assert [path for path in seen if path in names] == names
    assert len(seen) == len(set(seen))


async def test_the_same_call_joins_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second caller gets the answer of the run on its way, and a caller that goes away does not end it."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        impatient = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        patient = asyncio.ensure_future(index.analyze(tree, request_id=str(uuid4())))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.analyze(tree / "app", "t")
        assert failure.value.code() is grpc.StatusCode.ALREADY_EXISTS
        gate.opened.set()
        assert (await patient).added_files == len(TREE)
        assert len(await index.running.told()) == 1


async def test_runs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tree more than max_runs is refused with the time to wait."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees", max_runs="1") as index:
        run = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.analyze(tree, "other")
        status = errors.from_rpc_error(failure.value)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
        gate.opened.set()
        await run
        assert (await index.analyze(tree, "other")).repository.files == len(TREE)


async def test_an_index_is_readable_and_kept_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the run has ended every answer is the old one; deleting is refused; a hard stop changes nothing."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        await index.analyze(tree)
        before = await index.everything("t")
        gate = Gate(monkeypatch)
        run = asyncio.ensure_future(index.analyze(write_tree(tree, {"new.py": "x = 1\n", "web/draw.ts": None})))
        await gate.reached.wait()
        assert await index.everything("t") == before
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.stub.DeleteIndex(api.DeleteIndexRequest(repo_id="t"))
        assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await index.running.restart()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await run
        assert await index.everything("t") == before
        gate.opened.set()
        assert (await index.analyze(tree)).added_files == 1


async def test_a_newer_run_elsewhere_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another replica begins a run of the same repository, the older one may write no more and says so."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        run = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        await index.running.host.db.write(lambda tx: store.begin_run(tx, "t", str(tree), "another"))
        gate.opened.set()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await run
        assert failure.value.code() is grpc.StatusCode.ABORTED
        assert (await index.analyze(tree)).repository.files == len(TREE)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.integration.context_bench import TREE, running, write_tree

async def main(folder: Path, writes: int) -> None:
    tree = folder / "trees" / "t"
    async with running(folder / "var", folder / "trees", batch_files="2", workers="1") as index:
        await index.analyze(write_tree(tree, TREE))
        write_tree(tree, {path: None if path.endswith("draw.ts") else "import app.main\\n" + text for path, text in TREE.items()})
        write_tree(tree, {"added.py": "from app import store\\n"})
        database = index.running.host.db
        write = database.write
        async def deadly(work):
            nonlocal writes
            result = await write(work)
            writes -= 1
            if writes == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        database.write = deadly
        await (index.analyze(tree) if sys.argv[3] == "answers" else index.watched(tree))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.parametrize(("writes", "way"), [*((writes, "answers") for writes in range(1, 11)), (8, "streams")])
async def test_a_kill_in_the_middle_leaves_the_index_before(tmp_path: Path, writes: int, way: str) -> None:
    """Killed (-9) after any of its writes: the index is the one before, or the one after once it was published; a new run mends."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'build' / 'api'}"}
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), str(writes), way, cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said.decode()
    tree = tmp_path / "trees" / "t"
    before = write_tree(tmp_path / "trees" / "before", TREE)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        await index.analyze(before, "old")
        await index.analyze(tree, "new")
        old, new = await index.everything("old"), await index.everything("new")
        old[""]["repository"]["root"] = str(tree)
        assert await index.everything("t") in (old, new)
        await index.analyze(tree)
        assert await index.everything("t") == new
