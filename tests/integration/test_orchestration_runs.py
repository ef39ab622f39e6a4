"""Runs over the real server, file and engine: order, parallel branches, failure, retries, kill, cancel, watch, every refusal."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.rpc import error_details_pb2
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import run_pb2

from mesh import errors
from mesh.clock import to_us
from tests.integration.orchestration_bench import OVERVIEW, START, Bench, running, start

SUCCEEDED, FAILED, SKIPPED = run_pb2.NODE_STATE_SUCCEEDED, run_pb2.NODE_STATE_FAILED, run_pb2.NODE_STATE_SKIPPED
UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A running service with the usual settings."""
    async with running(tmp_path) as made:
        yield made


async def _refused(awaitable: Any) -> tuple[grpc.StatusCode, list[str]]:
    """The code of a refusal and the fields that it names."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await awaitable
    bad = error_details_pb2.BadRequest()
    details = errors.from_rpc_error(refused.value).details
    fields = [violation.field for detail in details if detail.Unpack(bad) for violation in bad.field_violations]
    return refused.value.code(), fields


async def test_outputs_flow_into_inputs(bench: Bench) -> None:
    """A node gets what the one before it answered, the run's own input and defaults; the answer shows every node."""
    second = {"id": "b", "call": START, "input": {"userId": "${input.who}", "focusArea": "after ${nodes.a.output.sessionId}"}}
    third = {"id": "c", "call": START, "input": {"userId": "${nodes.b.output.roundId}", "focusArea": "${input.gone:-rust}"}}
    answer = await bench.execute(start("a", "python"), second, third, input={"who": "grace"}, userId="ada")
    assert answer.state == run_pb2.RUN_STATE_SUCCEEDED
    assert [node.state for node in answer.nodes] == [SUCCEEDED] * 3
    outputs = [json_format.MessageToDict(node.output) for node in answer.nodes]
    assert outputs[1]["sessionId"] == "session-of-after session-of-python"
    assert (outputs[2]["sessionId"], outputs[2]["roundId"]) == ("session-of-rust", "grace")
    assert list(answer.nodes[1].depends_on) == ["a"]
    kept = (await bench.stub.GetRun(pb.GetRunRequest(run_id=answer.run_id))).run
    assert [json_format.MessageToDict(node.input) for node in kept.nodes[1:]] == [second["input"], third["input"]]


async def test_branches_run_in_parallel_and_a_failure_skips_its_own_branch_only(bench: Bench) -> None:
    """One branch fails and its dependents are skipped; the other goes on; the run says why it failed."""
    bench.far.refusals["bad"] = [errors.failed_precondition("x", "not today")]
    nodes = [start("root", "root"), start("left", "bad", "root"), start("right", "good", "root")]
    nodes += [start("after-left", "never", "left"), start("after-right", "fine", "right"), start("join", "never", "left", "right")]
    answer = await bench.execute(*nodes)
    assert answer.state == run_pb2.RUN_STATE_FAILED
    states = {node.id: node.state for node in answer.nodes}
    assert states == {
        "root": SUCCEEDED,
        "left": FAILED,
        "right": SUCCEEDED,
        "after-left": SKIPPED,
        "after-right": SUCCEEDED,
        "join": SKIPPED,
    }
    assert answer.reason == "node left failed: FAILED_PRECONDITION not today"
    left = next(node for node in answer.nodes if node.id == "left")
    assert (left.error.code, left.error.reason, left.attempts) == ("FAILED_PRECONDITION", "STATE_FORBIDS", 1)
    assert bench.far.calls["never"] == 0
    types = [event.type for event in await bench.running.told()]
    assert (types[0], types[-1]) == ("dag.started", "dag.completed")
    assert sorted(types[1:-1]) == ["dag.node.completed"] * 3 + ["dag.node.failed"]
    (failed,) = await bench.told("dag.node.failed")
    assert (failed.node_id, sorted(failed.skipped)) == ("left", ["after-left", "join"])
    (completed,) = await bench.told("dag.completed")
    assert (completed.succeeded_nodes, completed.failed_nodes, completed.skipped_nodes) == (3, 1, 2)


async def test_parallelism_is_limited_by_a_setting(tmp_path: Path) -> None:
    """Eight ready nodes, three places: three calls are on the way at most, and all are made."""
    async with running(tmp_path, running_nodes="3") as bench:
        answer = await bench.execute(*(start(f"n{number}", f"area{number}") for number in range(8)))
        assert answer.state == run_pb2.RUN_STATE_SUCCEEDED
        assert bench.far.most_on_the_way <= 3
        assert len(bench.far.applied) == 8


async def test_what_is_unavailable_is_tried_again(bench: Bench) -> None:
    """Two refusals that waiting helps are followed by a third attempt, which succeeds; the service applied it once."""
    bench.far.refusals["flaky"] = [errors.unavailable("disk", retry_after=timedelta(milliseconds=1)) for _ in range(2)]
    answer = await bench.execute(start("a", "flaky"))
    assert (answer.state, answer.nodes[0].attempts) == (run_pb2.RUN_STATE_SUCCEEDED, 3)
    assert len(bench.far.applied) == 1
    assert not answer.nodes[0].HasField("error")


@pytest.mark.parametrize(
    ("refusal", "retry", "attempts"),
    [
        (errors.invalid("x", "no"), {}, 1),
        (errors.exhausted("x", "full"), {}, 1),
        (errors.exhausted("x", "full", retry_after=timedelta(milliseconds=1)), {}, 3),
        (errors.unavailable("x", retry_after=timedelta(milliseconds=1)), {"maxAttempts": 2}, 2),
        (errors.aborted("changed"), {"codes": ["ABORTED"], "maxAttempts": 4}, 4),
        (errors.unavailable("x", retry_after=timedelta(hours=1)), {}, 1),
    ],
    ids=["invalid", "exhausted", "exhausted for a moment", "two attempts", "a code of its own", "too long to wait"],
)
async def test_attempts_are_bounded(bench: Bench, refusal: errors.Refusal, retry: dict[str, Any], attempts: int) -> None:
    """Only what may help is tried again, and only as often as the rule allows."""
    bench.far.refusals["bad"] = [refusal] * 10
    answer = await bench.execute(start("a", "bad", retry={"backoff": "0.001s", **retry}))
    assert (answer.state, answer.nodes[0].attempts) == (run_pb2.RUN_STATE_FAILED, attempts)
    assert bench.far.calls["bad"] == attempts


async def test_a_slow_call_ends_with_its_timeout(bench: Bench) -> None:
    """The node's own timeout bounds an attempt."""
    bench.far.gates["slow"] = asyncio.Event()
    answer = await bench.execute(start("a", "slow", timeout="0.05s"))
    assert (answer.state, answer.nodes[0].error.code) == (run_pb2.RUN_STATE_FAILED, "DEADLINE_EXCEEDED")


async def test_a_run_goes_on_after_a_restart_without_repeating_a_finished_node(bench: Bench) -> None:
    """The process ends in the middle of a call: that one is made again with the same request_id, the finished one is not."""
    bench.far.gates["slow"] = asyncio.Event()
    answer = await bench.execute(start("a", "first"), start("b", "slow", "a"), start("c", "last", "b"), wait="0s")
    await bench.far.called("slow")
    await bench.running.restart()
    await bench.far.called("slow", times=2)
    bench.far.gates["slow"].set()
    run = await bench.run_ended(answer.run_id)
    assert run.state == run_pb2.RUN_STATE_SUCCEEDED
    assert (bench.far.calls["first"], bench.far.calls["slow"], bench.far.calls["last"]) == (1, 2, 1)
    assert len(bench.far.applied) == 3
    assert [node.attempts for node in run.nodes] == [1, 2, 1]
    assert len(await bench.told("dag.completed")) == 1


@pytest.mark.parametrize("until_us", [1, 1 << 60], ids=["long_ago", "by_a_clock_set_back_since"])
async def test_a_run_of_a_killed_process_is_taken_over_when_its_lease_ends(bench: Bench, until_us: int) -> None:
    """A lease that nobody renews keeps a run from others until its time, which is never far; then it is driven to its end."""
    bench.far.gates["slow"] = asyncio.Event()
    answer = await bench.execute(start("a", "slow"), wait="0s")
    await bench.far.called("slow")
    database = bench.running.host.db

    async def hand_over(tx: Any) -> None:
        await tx.execute("UPDATE runs SET lease_owner = 'killed', lease_until_us = :until_us", {"until_us": until_us})

    await database.write(hand_over)
    bench.far.gates["slow"].set()
    run = await bench.run_ended(answer.run_id)
    assert run.state == run_pb2.RUN_STATE_SUCCEEDED
    assert len(bench.far.applied) == 1


async def test_a_run_of_a_killed_process_is_driven_by_the_next_one(tmp_path: Path) -> None:
    """It waits for no lease: the next start knows that the process is gone."""
    async with running(tmp_path, run_lease="1h") as bench:
        bench.far.gates["slow"] = asyncio.Event()
        answer = await bench.execute(start("a", "slow"), wait="0s")
        await bench.far.called("slow")
        until_us = to_us(bench.running.host.clock.now() + timedelta(hours=1))

        async def killed(tx: Any) -> None:
            await tx.execute("UPDATE runs SET lease_owner = 'killed', lease_until_us = :until_us", {"until_us": until_us})

        await bench.running.host.db.write(killed)
        (tmp_path / "orchestration" / "owners" / "killed.lock").touch()
        bench.far.gates["slow"].set()
        await bench.running.restart()
        assert (await bench.run_ended(answer.run_id)).state == run_pb2.RUN_STATE_SUCCEEDED


async def test_the_same_request_id_is_the_same_run(bench: Bench) -> None:
    """A repeat starts nothing and answers for the first run."""
    request_id = str(uuid4())
    first = await bench.execute(start("a", "python"), requestId=request_id)
    again = await bench.execute(start("a", "python"), requestId=request_id)
    assert again == first
    assert len(await bench.told("dag.started")) == 1
    code, _ = await _refused(bench.execute(start("a", "rust"), requestId=request_id))
    assert code == grpc.StatusCode.ALREADY_EXISTS


async def test_cancel(bench: Bench) -> None:
    """A cancelled run ends at once, starts nothing more and cannot be cancelled again."""
    bench.far.gates["slow"] = asyncio.Event()
    answer = await bench.execute(start("a", "slow"), start("b", "never", "a"), wait="0s")
    await bench.far.called("slow")
    cancelled = (await bench.stub.CancelRun(pb.CancelRunRequest(run_id=answer.run_id, reason="enough"))).run
    assert (cancelled.state, cancelled.reason) == (run_pb2.RUN_STATE_CANCELLED, "enough")
    bench.far.gates["slow"].set()
    run = await bench.run_ended(answer.run_id)
    assert [node.state for node in run.nodes] == [run_pb2.NODE_STATE_CANCELLED] * 2
    assert bench.far.calls["never"] == 0
    code, _ = await _refused(bench.stub.CancelRun(pb.CancelRunRequest(run_id=answer.run_id)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    (told,) = await bench.told("dag.completed")
    assert told.state == run_pb2.RUN_STATE_CANCELLED


async def test_watch_shows_every_change_and_ends(bench: Bench) -> None:
    """A watcher sees the run as it is, heartbeats while nothing happens, each change, and a last message."""
    bench.far.gates["slow"] = asyncio.Event()
    answer = await bench.execute(start("a", "slow"), wait="0s")
    await bench.far.called("slow")
    request = pb.WatchRunRequest(run_id=answer.run_id)
    request.heartbeat.FromMilliseconds(100)
    seen: list[pb.WatchRunResponse] = []
    async for message in bench.stub.WatchRun(request):
        seen.append(message)
        if not message.HasField("run"):
            bench.far.gates["slow"].set()
    assert seen[0].run.nodes[0].state == run_pb2.NODE_STATE_RUNNING
    assert any(not message.HasField("run") for message in seen)
    assert [message.final for message in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1].run.state == run_pb2.RUN_STATE_SUCCEEDED
    assert not seen[-1].run.nodes[0].HasField("output")


async def test_lists_page_and_filter(bench: Bench) -> None:
    """Pages of two give every run once, newest first; filters and foreign tokens are minded."""
    made = [(await bench.execute(start("a", f"area{number}"), userId="ada" if number % 2 else "bob")).run_id for number in range(5)]
    seen, token = [], ""
    while True:
        page = await bench.stub.ListRuns(pb.ListRunsRequest(page_size=2, page_token=token))
        seen += [run.run_id for run in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    ada = await bench.stub.ListRuns(pb.ListRunsRequest(user_id="ada", state=run_pb2.RUN_STATE_SUCCEEDED))
    assert [run.run_id for run in ada.runs] == [made[3], made[1]]
    first = await bench.stub.ListRuns(pb.ListRunsRequest(page_size=2))
    code, fields = await _refused(bench.stub.ListRuns(pb.ListRunsRequest(user_id="ada", page_token=first.next_page_token)))
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


@pytest.mark.parametrize(
    ("nodes", "field"),
    [
        ([start("a", "x"), start("a", "y")], "dag.nodes[1].id"),
        ([start("a", "x", "b"), start("b", "x", "a")], "dag.nodes"),
        ([start("a", "x", "gone")], "dag.nodes[0].depends_on[0]"),
        ([{"id": "a", "call": "tooloo.learning.v1.LearningService/Nothing"}], "dag.nodes[0].call"),
        ([{"id": "a", "call": "tooloo.bus.v1.EventBus/Follow"}], "dag.nodes[0].call"),
        ([{"id": "a", "call": "tooloo.orchestration.v1.OrchestrationService/ExecuteDag"}], "dag.nodes[0].call"),
        ([{"id": "a", "call": "tooloo.orchestration.v1.OrchestrationService/RetryRun"}], "dag.nodes[0].call"),
        ([{"id": "a", "call": START, "input": {"colour": "red"}}], "dag.nodes[0].input"),
        ([{"id": "a", "call": START, "input": {"roundCount": "many"}}], "dag.nodes[0].input"),
        ([{"id": "a", "call": START, "input": {"colour": "${input.x}"}}], "dag.nodes[0].input"),
        (
            [{"id": "a", "call": START, "input": {"userId": "ada", "focusArea": "x", "roundCount": 99}}],
            "dag.nodes[0].input.round_count",
        ),
        ([{"id": "a", "call": START, "input": {"userId": "${user}"}}], "dag.nodes[0].input"),
        ([], "dag.nodes"),
    ],
)
async def test_faulty_dags_are_refused_by_field(bench: Bench, nodes: list[dict[str, Any]], field: str) -> None:
    """A DAG that could not run is refused before anything of it runs, and the field is named."""
    code, fields = await _refused(bench.execute(*nodes))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in fields
    assert not (await bench.stub.ListRuns(pb.ListRunsRequest())).runs


async def test_a_reference_without_value_fails_its_node(bench: Bench) -> None:
    """What only shows at run time fails the node, with the reference named."""
    answer = await bench.execute({"id": "a", "call": OVERVIEW, "input": {"userId": "${input.who}"}})
    assert (answer.state, answer.nodes[0].error.code) == (run_pb2.RUN_STATE_FAILED, "INVALID_ARGUMENT")
    assert "${input.who}" in answer.reason


async def test_answers_nested_too_deep_fail_their_node(bench: Bench) -> None:
    """A run that reads itself, again and again, is an answer within an answer; what nobody could read back is not kept."""
    bench.running.host.client.target = bench.running.address
    await bench.running.host.client.close()
    get = "tooloo.orchestration.v1.OrchestrationService/GetRun"
    nodes = [
        {"id": f"n{n}", "call": get, "input": {"runId": "${run.id}"}, "dependsOn": [f"n{n - 1}"] if n else []} for n in range(9)
    ]
    answer = await bench.execute(*nodes)
    assert answer.state == run_pb2.RUN_STATE_FAILED
    failed = next(node for node in answer.nodes if node.state == FAILED)
    assert (failed.error.code, "nested" in failed.error.message) == ("DATA_LOSS", True)
    assert (await bench.stub.GetRun(pb.GetRunRequest(run_id=answer.run_id))).run.state == run_pb2.RUN_STATE_FAILED


async def test_limits_are_settings(tmp_path: Path) -> None:
    """Nodes, bytes and unfinished runs are bounded; each refusal names its setting or field."""
    async with running(tmp_path, max_nodes="2", unfinished_runs="1", max_output_bytes="1024", max_input_bytes="1024") as bench:
        assert await _refused(bench.execute(*(start(f"n{n}", "x") for n in range(3)))) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            ["dag.nodes"],
        )
        assert (await _refused(bench.execute(start("a", "x"), input={"big": "x" * 2000})))[1] == ["input"]
        bench.far.gates["slow"] = asyncio.Event()
        answer = await bench.execute(start("a", "slow"), wait="0s")
        assert (await _refused(bench.execute(start("a", "x"))))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        bench.far.gates["slow"].set()
        await bench.run_ended(answer.run_id)
        assert (await bench.execute(start("a", "x"))).state == run_pb2.RUN_STATE_SUCCEEDED


@pytest.mark.parametrize("call", ["GetRun", "CancelRun", "WatchRun"])
async def test_an_unknown_run_is_not_found(bench: Bench, call: str) -> None:
    """Every call that names a run says when there is none."""
    invoke = getattr(bench.stub, call)(getattr(pb, f"{call}Request")(run_id=UNKNOWN))
    awaitable = invoke if call != "WatchRun" else invoke.__aiter__().__anext__()
    assert (await _refused(awaitable))[0] == grpc.StatusCode.NOT_FOUND


async def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    """An ended run is dropped when it is older than the setting."""
    async with running(tmp_path, keep_runs="0s", run_lease="60ms") as bench:
        answer = await bench.execute(start("a", "x"), wait="0s")
        async with asyncio.timeout(60):
            while (await bench.stub.ListRuns(pb.ListRunsRequest())).runs:  # noqa: ASYNC110 # nothing tells of it
                await asyncio.sleep(0.02)
        assert (await _refused(bench.stub.GetRun(pb.GetRunRequest(run_id=answer.run_id))))[0] == grpc.StatusCode.NOT_FOUND
