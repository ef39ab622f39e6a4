"""Orchestration when things are as nobody wished: places are taken, answers are large together, an intent is gone."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tooloo.learning.v1 import learning_service_pb2 as learning
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import run_pb2, task_pb2

from mesh import errors, page
from mesh.clock import ManualClock
from services.orchestration import schedule as schedules
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers.driver import Driver
from tests.integration.orchestration_bench import running, start


async def test_a_retry_that_finds_no_place_waits_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another run has the only place, a run whose retry is due rests, and goes on when the place is free."""
    clock = ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    steps, step = [0], Driver._step

    async def counted(self: Driver, *given: Any) -> None:
        steps[0] += 1
        await step(self, *given)

    monkeypatch.setattr(Driver, "_step", counted)
    async with running(tmp_path, clock, running_nodes="1") as bench:
        bench.far.refusals["flaky"] = [errors.unavailable("disk")]
        flaky = await bench.execute(start("a", "flaky"), wait="0s")
        await bench.far.called("flaky")
        bench.far.gates["slow"] = asyncio.Event()
        slow = await bench.execute(start("a", "slow"), wait="0s")
        await bench.far.called("slow")
        clock.advance(timedelta(seconds=1))
        # one look a second is enough; without rest there are thousands
        await asyncio.sleep(1.5)
        steps[0] = 0
        await asyncio.sleep(0.5)
        assert steps[0] < 50
        bench.far.gates["slow"].set()
        for run_id in (slow.run_id, flaky.run_id):
            assert (await bench.run_ended(run_id)).state == run_pb2.RUN_STATE_SUCCEEDED


class LargeAnswers(dict[str, learning.StartTrainingResponse]):
    """Answers of a far service that are as large as a node may keep, but one."""

    def setdefault(self, key: str, default: Any = None) -> learning.StartTrainingResponse:
        """A large answer, unless the far service was to answer somebody small."""
        small = default.session_id == "session-of-small"
        return learning.StartTrainingResponse(session_id="small" if small else "x" * 250_000)


async def test_a_run_whose_answers_do_not_fit_into_a_message(tmp_path: Path) -> None:
    """It can be executed, read, retried and cancelled: the largest outputs are left out, all else is there."""
    async with running(tmp_path) as bench:
        bench.far.applied = LargeAnswers()
        bench.far.refusals["last"] = [errors.invalid("x", "no")]
        large = [start(f"n{number}", "large") for number in range(20)]
        names = [node["id"] for node in large]
        ended = await bench.execute(start("small", "small"), *large, start("last", "last", *names), wait="30s")
        assert ended.state == run_pb2.RUN_STATE_FAILED
        shown = (await bench.stub.GetRun(pb.GetRunRequest(run_id=ended.run_id))).run
        for nodes in (ended.nodes, shown.nodes):
            assert nodes[0].output["sessionId"] == "small"
            assert 10 < sum(node.HasField("output") for node in nodes) < 21
            assert [node.state for node in nodes[:-1]] == [run_pb2.NODE_STATE_SUCCEEDED] * 21
        bench.far.gates["last"] = asyncio.Event()
        again = (await bench.stub.RetryRun(pb.RetryRunRequest(run_id=ended.run_id))).run
        await bench.far.called("last", 2)
        cancelled = (await bench.stub.CancelRun(pb.CancelRunRequest(run_id=again.run_id))).run
        assert cancelled.state == run_pb2.RUN_STATE_CANCELLED
        assert cancelled.nodes[0].output["sessionId"] == "small"


async def test_an_intent_that_is_gone_can_be_unbound(tmp_path: Path) -> None:
    """The file of intents got others: what was bound to an old one is freed, and its workflow can be deleted."""
    document = json.loads(OrchestrationSettings().intents_file.read_text())
    file = tmp_path / "intents.json"
    file.write_text(json.dumps(document))
    async with running(tmp_path, intents_file=str(file), model_folder=str(tmp_path)) as bench:
        dag = {"workflowId": "train", "dag": {"nodes": [start("a", "sql")]}}
        await bench.stub.CreateWorkflow(json_format.ParseDict(dag, pb.CreateWorkflowRequest()))
        await bench.stub.BindIntent(pb.BindIntentRequest(name="greeting", workflow_id="train"))
        document["intents"] = [intent for intent in document["intents"] if intent["name"] != "greeting"]
        file.write_text(json.dumps(document))
        await bench.running.restart()
        unbound = (await bench.stub.BindIntent(pb.BindIntentRequest(name="greeting"))).intent
        assert (unbound.name, unbound.workflow_id) == ("greeting", "")
        await bench.stub.DeleteWorkflow(pb.DeleteWorkflowRequest(workflow_id="train"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bench.stub.BindIntent(pb.BindIntentRequest(name="greeting"))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_page_token_that_somebody_made_up(tmp_path: Path) -> None:
    """A time that no store holds is refused as a token, in the lists of runs and of tasks."""
    async with running(tmp_path) as bench:
        runs, tasks = pb.ListRunsRequest(), pb.ListTasksRequest()
        for request in (runs, tasks):
            request.page_token = page.encode_token({"before_us": 2**63, "before_id": "x"}, page.fingerprint(request))
        for answer in (bench.stub.ListRuns(runs), bench.stub.ListTasks(tasks)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await answer
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_writes_that_are_refused_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is full nothing fires and no lease is renewed, but the service stays; with room again all goes on."""
    clock = ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    async with running(tmp_path, clock, run_lease="60ms") as bench:
        bench.far.gates["slow"] = asyncio.Event()
        run_id = (await bench.execute(start("a", "slow"), wait="0s")).run_id
        await bench.far.called("slow")
        schedule = {"name": "drill", "schedule": {"every": "60s"}, "dag": {"nodes": [start("a", "sql")]}}
        await bench.stub.ScheduleTask(json_format.ParseDict(schedule, pb.ScheduleTaskRequest()))
        refused = [0]

        def refuse(_work: Any) -> Any:
            refused[0] += 1
            raise errors.exhausted("disk", "the disk is full; make room")

        with monkeypatch.context() as full:
            full.setattr(bench.running.host.db, "submit", refuse)
            clock.advance(timedelta(minutes=1))
            async with asyncio.timeout(60):
                while refused[0] < 20:  # noqa: ASYNC110 # nothing else tells of it
                    await asyncio.sleep(0.01)
        await bench.far.called("sql")
        bench.far.gates["slow"].set()
        assert (await bench.run_ended(run_id)).state == run_pb2.RUN_STATE_SUCCEEDED


async def test_a_time_zone_that_the_machine_has_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is paused and says why, the others fire, and it can be resumed when the zone is there again."""
    clock = ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    async with running(tmp_path, clock) as bench:
        made = {}
        for topic, rhythm in (("zoned", {"cron": "1 * * * *", "timeZone": "Europe/Berlin"}), ("plain", {"every": "61s"})):
            task = {"name": topic, "schedule": rhythm, "dag": {"nodes": [start("a", topic)]}}
            made[topic] = (await bench.stub.ScheduleTask(json_format.ParseDict(task, pb.ScheduleTaskRequest()))).task_id

        def gone(name: str) -> Any:
            raise schedules.InvalidSchedule("time_zone", f"there is no time zone {name!r}")

        with monkeypatch.context() as without:
            without.setattr(schedules, "zone", gone)
            listed = (await bench.stub.ListTasks(pb.ListTasksRequest(upcoming_fires=3))).tasks
            assert [len(task.upcoming_fire_times) for task in listed] == [3, 1]
            clock.advance(timedelta(seconds=61))
            await bench.far.called("plain")
            zoned = (await bench.stub.GetTask(pb.GetTaskRequest(task_id=made["zoned"]))).task
            assert (zoned.state, "Europe/Berlin" in zoned.last_problem) == (task_pb2.TASK_STATE_PAUSED, True)
            assert any("Europe/Berlin" in fired.problem for fired in await bench.told("task.fired"))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=made["zoned"]))
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        await bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=made["zoned"]))
        clock.advance(timedelta(hours=1))
        await bench.far.called("zoned")


async def test_a_retry_after_the_clock_was_set_back(tmp_path: Path) -> None:
    """It is made when no retry would wait longer, not when the clock has come to its time again."""
    clock = ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    async with running(tmp_path, clock, node_backoff="30s") as bench:
        bench.far.refusals["flaky"] = [errors.unavailable("disk")]
        run_id = (await bench.execute(start("a", "flaky"), wait="0s")).run_id
        async for shown in bench.stub.WatchRun(pb.WatchRunRequest(run_id=run_id)):
            if shown.run.nodes[0].HasField("error"):
                break
        clock.advance(-timedelta(hours=1))
        assert (await bench.run_ended(run_id)).state == run_pb2.RUN_STATE_SUCCEEDED
