"""Runs of the context service over trees that change: incremental is as good as from scratch, also after a kill in the middle."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.context.v1 import context_service_pb2 as api

from mesh import errors
from mesh.clock import to_us
from services.context import store, store_runs
from services.context.flows.indexing import Run
from tests.integration.context_bench import TREE, Gate, Index, running, write_tree

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


def test_incremental_is_from_scratch(tmp_path: Path) -> None:
    """After any edits, the index that was kept up to date answers exactly what a new one does; each example has its own tree."""
    trees, numbers = tmp_path / "trees", itertools.count()

    async def scenario(index: Index, rounds: list[dict[str, str | None]]) -> None:
        name = f"t{next(numbers)}"
        for number, changes in enumerate(rounds):
            tree = write_tree(trees / name, {".keep": "", **changes})
            await index.analyze(tree, f"{name}-kept")
            await index.analyze(tree, f"{name}-new-{number}")
            assert await index.everything(f"{name}-kept") == await index.everything(f"{name}-new-{number}")

    with asyncio.Runner() as runner, ExitStack() as stack:
        # one service for all examples: a start of it and of its worker processes takes longer than an example
        service = running(tmp_path / "var", trees)
        index = runner.run(service.__aenter__())
        stack.callback(lambda: runner.run(service.__aexit__(None, None, None)))

        @settings(max_examples=12)
        @given(st.lists(edits, min_size=2, max_size=4))
        def hold(rounds: list[dict[str, str | None]]) -> None:
            runner.run(scenario(index, rounds))

        hold()


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


async def test_a_late_caller_gets_what_was_written_before_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when files are being read gets the answer of one run that follows; a caller that goes away ends neither."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        impatient = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        write_tree(tree, {"a.py": "x = 1\n"})
        request_ids = [str(uuid4()) for _ in range(2)]
        late = [asyncio.ensure_future(index.analyze(tree, request_id=each)) for each in request_ids]
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.analyze(tree / "app", "t")
        assert failure.value.code() is grpc.StatusCode.ALREADY_EXISTS
        gate.opened.set()
        answer, same = await asyncio.gather(*late)
        assert (answer.repository.files, answer.added_files) == (len(TREE) + 1, 1)
        assert same == answer
        assert [await index.analyze(tree, request_id=each) for each in request_ids] == [answer, answer]
        assert len(await index.running.told()) == 2


async def test_a_caller_before_anything_is_read_joins_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the files are counted the answer of the run on its way holds for a second caller too."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    counting, go_on, count = asyncio.Event(), asyncio.Event(), Run._count_files

    async def held(run: Run) -> int:
        counting.set()
        await go_on.wait()
        return await count(run)

    monkeypatch.setattr(Run, "_count_files", held)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        first = asyncio.ensure_future(index.analyze(tree))
        await counting.wait()
        second = aiter(index.stub.IndexRepository(api.IndexRepositoryRequest(path=str(tree), request_id=str(uuid4()))))
        assert (await anext(second)).progress.phase == "counting"
        go_on.set()
        *_, last = [message async for message in second]
        assert last.result == await first
        assert len(await index.running.told()) == 1


async def test_what_a_killed_first_run_left_is_forgotten(tmp_path: Path) -> None:
    """Its row is swept when its process shows no sign of life; while one does, in whichever process, the index is not deleted."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees", run_lease="60s", freshness_interval="20ms") as index:
        await index.analyze(tree)
        database, now_us = index.running.host.db, to_us(index.running.host.clock.now())
        for repo_id, until_us in (("killed", now_us - 1), ("t", now_us + 60_000_000)):
            begin = partial(store_runs.begin_run, repo_id=repo_id, root="/", run_id="elsewhere", owner="elsewhere")
            await database.write(partial(begin, until_us=until_us))
        async with asyncio.timeout(60):
            while await database.read(partial(store.find_repository, repo_id="killed")):  # noqa: ASYNC110 # nothing tells of it
                await asyncio.sleep(0.02)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.stub.DeleteIndex(api.DeleteIndexRequest(repo_id="t"))
        assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await database.write(partial(store_runs.end_run, repo_id="t", run_id="elsewhere"))
        assert (await index.stub.DeleteIndex(api.DeleteIndexRequest(repo_id="t"))).deleted_files == len(TREE)


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


async def test_a_run_elsewhere_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two replicas that are asked to index one folder both do so, one after the other, and each caller gets an answer."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as one, running(tmp_path / "var", tmp_path / "trees") as other:
        first = asyncio.ensure_future(one.analyze(tree))
        await gate.reached.wait()
        second = aiter(other.stub.IndexRepository(api.IndexRepositoryRequest(path=str(tree))))
        assert (await anext(second)).progress.phase == "waiting"
        gate.opened.set()
        *_, last = [message async for message in second]
        assert ((await first).added_files, last.result.unchanged_files) == (len(TREE), len(TREE))


async def test_a_newer_run_elsewhere_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another replica begins a run of the same repository, the older one may write no more and says so."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        run = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        await index.running.host.db.write(lambda tx: store_runs.begin_run(tx, "t", str(tree), "another", "", 0))
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
    async with running(folder / "var", folder / "trees", batch_files="2", workers="1", run_lease="1h") as index:
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
        # on a busy machine what was read meanwhile is written together, and fewer writes do
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def killed(folder: Path, writes: int, way: str) -> None:
    """A process that indexed a tree anew and was killed (-9) after so many writes of that."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'build' / 'api'}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(folder), str(writes), way, cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()


async def test_a_killed_run_holds_nobody_up(tmp_path: Path) -> None:
    """The next process on the store knows that it is gone, and waits for no lease."""
    await killed(tmp_path, 3, "answers")
    async with asyncio.timeout(120), running(tmp_path / "var", tmp_path / "trees", run_lease="1h") as index:
        await index.analyze(tmp_path / "trees" / "t")


@pytest.mark.parametrize(("writes", "way"), [*((writes, "answers") for writes in range(1, 11)), (8, "streams")])
async def test_a_kill_in_the_middle_leaves_the_index_before(tmp_path: Path, writes: int, way: str) -> None:
    """Killed (-9) after any of its writes: the index is the one before, or the one after once it was published; a new run mends."""
    await killed(tmp_path, writes, way)
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
