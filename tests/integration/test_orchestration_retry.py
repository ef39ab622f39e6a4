"""Running an ended run again: what succeeded is kept, the rest runs as a new run, and every refusal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import run_pb2

from mesh import errors
from tests.integration.orchestration_bench import Bench, running, start

SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A running service with the usual settings."""
    async with running(tmp_path) as made:
        yield made


async def _failed(bench: Bench) -> pb.ExecuteDagResponse:
    """A run whose middle node fails once: root, middle, last, and a branch of its own."""
    bench.far.refusals["middle"] = [errors.failed_precondition("x", "not today")]
    last = {"id": "last", "call": start("x", "x")["call"], "input": {"userId": "a", "focusArea": "${nodes.root.output.sessionId}"}}
    last["dependsOn"] = ["middle"]
    return await bench.execute(start("root", "root"), start("middle", "middle", "root"), last, start("side", "side"), userId="ada")


async def _code(call: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call  # type: ignore[misc] # a call of the stub
    return refused.value.code()


async def test_only_what_did_not_succeed_runs_again(bench: Bench) -> None:
    """The new run keeps outputs and times of then, names the old one, and tells its own events; the old one stays as it was."""
    failed = await _failed(bench)
    answer = await bench.stub.RetryRun(pb.RetryRunRequest(run_id=failed.run_id))
    assert answer.run.run_id != failed.run_id
    assert (answer.run.retry_of_run_id, answer.run.user_id) == (failed.run_id, "ada")
    again = await bench.run_ended(answer.run.run_id)
    assert again.state == SUCCEEDED
    assert {name: bench.far.calls[name] for name in ("root", "side", "middle", "session-of-root")} == {
        "root": 1,
        "side": 1,
        "middle": 2,
        "session-of-root": 1,
    }
    before, after = failed.nodes[0], again.nodes[0]
    assert (before.output, before.start_time, before.end_time) == (after.output, after.start_time, after.end_time)
    old = (await bench.stub.GetRun(pb.GetRunRequest(run_id=failed.run_id))).run
    assert (old.state, old.retry_of_run_id) == (run_pb2.RUN_STATE_FAILED, "")
    assert [event.run_id for event in await bench.told("dag.started")] == [failed.run_id, again.run_id]
    listed = (await bench.stub.ListRuns(pb.ListRunsRequest())).runs
    assert [(run.run_id, run.retry_of_run_id) for run in listed] == [(again.run_id, failed.run_id), (failed.run_id, "")]


async def test_from_a_node_on(bench: Bench) -> None:
    """A named node and all that depends on it run again, though they succeeded; the same request id starts one run."""
    done = await bench.execute(start("a", "first"), start("b", "second", "a"), start("c", "third", "b"), start("d", "fourth"))
    request = pb.RetryRunRequest(run_id=done.run_id, node_id="b", request_id=str(uuid4()))
    answers = [await bench.stub.RetryRun(request) for _ in range(2)]
    assert answers[0].run.run_id == answers[1].run.run_id
    assert (await bench.run_ended(answers[0].run.run_id)).state == SUCCEEDED
    assert [bench.far.calls[name] for name in ("first", "second", "third", "fourth")] == [1, 2, 2, 1]


async def test_a_cancelled_run_goes_on_where_it_was(bench: Bench) -> None:
    """What was cut off runs again; it is not part of the cancelled run any more."""
    bench.far.gates["slow"] = gate = asyncio.Event()
    begun = await bench.execute(start("a", "quick"), start("b", "slow", "a"), wait="0s")
    await bench.far.called("slow")
    assert await _code(bench.stub.RetryRun(pb.RetryRunRequest(run_id=begun.run_id))) == grpc.StatusCode.FAILED_PRECONDITION
    await bench.stub.CancelRun(pb.CancelRunRequest(run_id=begun.run_id))
    gate.set()
    again = (await bench.stub.RetryRun(pb.RetryRunRequest(run_id=begun.run_id))).run
    assert (await bench.run_ended(again.run_id)).state == SUCCEEDED
    assert (bench.far.calls["quick"], bench.far.calls["slow"]) == (1, 2)


async def test_a_retried_run_survives_a_restart(bench: Bench) -> None:
    """It is kept with what it took over."""
    failed = await _failed(bench)
    again = (await bench.stub.RetryRun(pb.RetryRunRequest(run_id=failed.run_id))).run
    await bench.run_ended(again.run_id)
    await bench.running.restart()
    found = (await bench.stub.GetRun(pb.GetRunRequest(run_id=again.run_id))).run
    assert (found.state, found.retry_of_run_id, len(found.nodes)) == (SUCCEEDED, failed.run_id, 4)


async def test_refusals(bench: Bench) -> None:
    """No such run, no such node, nothing left to run again."""
    done = await bench.execute(start("a", "fine"))
    ask = bench.stub.RetryRun
    assert await _code(ask(pb.RetryRunRequest(run_id=str(uuid4())))) == grpc.StatusCode.NOT_FOUND
    assert await _code(ask(pb.RetryRunRequest(run_id=done.run_id, node_id="z"))) == grpc.StatusCode.INVALID_ARGUMENT
    assert await _code(ask(pb.RetryRunRequest(run_id=done.run_id))) == grpc.StatusCode.FAILED_PRECONDITION
