"""IndexRepository: the progress of a run while it runs, for everybody who asks, and its answer at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.context.v1 import context_service_pb2 as api

from mesh import errors
from services.context.flows import linking
from services.context.progress import Phase
from tests.integration.context_bench import TREE, Gate, Index, running, write_tree

PHASES = list(Phase)
FILES = {f"pkg{number % 7}/module{number}.py": f"from pkg{number % 5} import module{number + 1}\n" for number in range(24)}
FAST = {"batch_files": "1", "progress_interval": "1ms"}


def check(messages: Sequence[api.IndexRepositoryResponse]) -> None:
    """Phases in their order, no number falls, and only the last message has an answer."""
    told = [message.progress for message in messages]
    places = [(PHASES.index(Phase(each.phase)), each.done) for each in told]
    assert places == sorted(places)
    for numbers in ([each.bytes for each in told], [each.elapsed.ToNanoseconds() for each in told]):
        assert numbers == sorted(numbers)
    assert all(not each.total or each.done <= each.total for each in told)
    assert [message.HasField("result") for message in messages] == [False] * (len(messages) - 1) + [True]


async def until(stream: AsyncIterator[api.IndexRepositoryResponse], phase: Phase) -> list[api.IndexRepositoryResponse]:
    """What is told up to the first message of a phase."""
    found: list[api.IndexRepositoryResponse] = []
    async for message in stream:
        found.append(message)
        if message.progress.phase == phase:
            return found
    raise AssertionError(f"{phase} was not told")


def watch(index: Index, tree: Path, **fields: object) -> AsyncIterator[api.IndexRepositoryResponse]:
    """A stream that is read by hand."""
    return aiter(index.stub.IndexRepository(api.IndexRepositoryRequest(path=str(tree), **fields)))  # type: ignore[arg-type]


async def test_a_run_is_told_from_its_beginning_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are counted before the first is read; the answer is that of AnalyzeContext, and the event is told once."""
    tree = write_tree(tmp_path / "trees" / "t", FILES)
    gate, ranked, shape = Gate(monkeypatch), threading.Event(), linking._shape

    def held(files: linking._Files, edges: linking._Edges, most: int) -> object:
        assert ranked.wait(60)
        return shape(files, edges, most)

    # a phase that is over before anybody looks is not told
    monkeypatch.setattr(linking, "_shape", held)
    async with running(tmp_path / "var", tmp_path / "trees", **FAST) as index:
        stream = watch(index, tree)
        begun = await until(stream, Phase.READING)
        assert (begun[-1].progress.done, begun[-1].progress.total, begun[-1].progress.unit) == (0, len(FILES), "files")
        gate.opened.set()
        messages = begun + await until(stream, Phase.RANKING)
        ranked.set()
        messages += [message async for message in stream]
        check(messages)
        assert any(0 < message.progress.done < len(FILES) for message in messages)
        last = messages[-1]
        assert last.progress.bytes == sum(map(len, FILES.values()))
        assert (last.result.added_files, last.result.repository.files) == (len(FILES), len(FILES))
        assert len(await index.running.told()) == 1
        again = await index.watched(tree)
        check(again)
        assert again[-1].result.unchanged_files == len(FILES)


async def test_a_second_caller_waits_for_the_run_that_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the waiting on all is told; callers of either call get its answer, also later, under their own request ids."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate, request_id = Gate(monkeypatch), str(uuid4())
    async with running(tmp_path / "var", tmp_path / "trees", **FAST) as index:
        first = asyncio.ensure_future(index.analyze(tree))
        await gate.reached.wait()
        second = watch(index, tree, request_id=request_id)
        seen = await until(second, Phase.WAITING)
        third = asyncio.ensure_future(index.analyze(tree))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await index.watched(tree / "app", "t")
        assert failure.value.code() is grpc.StatusCode.ALREADY_EXISTS
        gate.opened.set()
        seen += [message async for message in second]
        check(seen)
        assert ((await first).added_files, seen[-1].result.unchanged_files) == (len(TREE), len(TREE))
        assert seen[-1].result == await third
        assert len(await index.running.told()) == 2
        (repeated,) = await index.watched(tree, request_id=request_id)
        assert repeated.result == seen[-1].result
        assert not repeated.HasField("progress")
        with pytest.raises(grpc.aio.AioRpcError) as reused:
            await index.watched(tree, "other", request_id)
        assert reused.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_caller_that_hangs_up_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is published, and asking again with the same id gets its answer."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate, request_id = Gate(monkeypatch), str(uuid4())
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        call = index.stub.IndexRepository(api.IndexRepositoryRequest(path=str(tree), request_id=request_id))
        await until(aiter(call), Phase.READING)
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        gate.opened.set()
        last = (await index.watched(tree, request_id=request_id))[-1]
        assert last.result.added_files == len(TREE)
        assert len(await index.running.told()) == 1
        assert await index.paths("t") == sorted(TREE)


async def test_a_silent_run_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same progress with more time gone, after the silence that the caller allows."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    gate = Gate(monkeypatch)
    async with running(tmp_path / "var", tmp_path / "trees") as index:
        stream = watch(index, tree, heartbeat=Duration(nanos=100_000_000))
        (*_, first) = await until(stream, Phase.READING)
        second = await anext(stream)
        assert (second.progress.phase, second.progress.done) == (first.progress.phase, first.progress.done)
        assert second.progress.elapsed.ToNanoseconds() > first.progress.elapsed.ToNanoseconds()
        gate.opened.set()
        assert [message async for message in stream][-1].result.added_files == len(TREE)


async def failing(
    stream: AsyncIterator[api.IndexRepositoryResponse],
) -> tuple[list[api.IndexRepositoryResponse], grpc.aio.AioRpcError]:
    """What is told before the call fails, and the failure."""
    found: list[api.IndexRepositoryResponse] = []
    try:
        async for message in stream:
            found.append(message)
    except grpc.aio.AioRpcError as failure:
        return found, failure
    raise AssertionError(f"it did not fail: {found}")


async def test_what_is_refused_at_once_and_what_fails_later(tmp_path: Path) -> None:
    """A path is refused before any message; a tree that turns out too large is told in the last one, then by the call's status."""
    tree = write_tree(tmp_path / "trees" / "t", TREE)
    async with running(tmp_path / "var", tmp_path / "trees", max_files="3") as index:
        told, failure = await failing(watch(index, tmp_path))
        assert (told, failure.code()) == ([], grpc.StatusCode.INVALID_ARGUMENT)
        told, failure = await failing(watch(index, tree))
        assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert told[-1].error == errors.from_rpc_error(failure)
        assert not any(message.HasField("result") for message in told)
