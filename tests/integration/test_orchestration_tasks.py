"""Tasks over the real server with a clock of the test's own: fires, restarts, missed fires, pause, refusals."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.rpc import error_details_pb2
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import task_pb2

from mesh import errors
from mesh.clock import ManualClock
from services.orchestration import wire
from services.orchestration.records import TaskRecord
from tests.integration.orchestration_bench import Bench, running, start

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAG = {"nodes": [start("a", "python")]}
UNKNOWN = "00000000-0000-7000-8000-000000000000"


class Timed(Bench):
    """A bench whose clock the test moves."""

    clock: ManualClock

    async def schedule(self, schedule: dict[str, Any], **fields: Any) -> pb.ScheduleTaskResponse:
        """Schedules a task given as JSON; it runs DAG unless told otherwise."""
        target = {} if "workflowId" in fields else {"dag": DAG}
        request = {"name": "drill", "schedule": schedule, **target, **fields}
        return await self.stub.ScheduleTask(json_format.ParseDict(request, pb.ScheduleTaskRequest()))

    async def task(self, task_id: str) -> task_pb2.Task:
        """The task as it stands."""
        return (await self.stub.GetTask(pb.GetTaskRequest(task_id=task_id))).task

    async def fired(self, task_id: str, times: int) -> task_pb2.Task:
        """The task when it has fired so often and every run has ended."""
        async with asyncio.timeout(60):
            while True:
                task = await self.task(task_id)
                if task.fire_count >= times:
                    break
                await asyncio.sleep(0.01)
        for run in (await self.stub.ListRuns(pb.ListRunsRequest(task_id=task_id))).runs:
            await self.run_ended(run.run_id)
        return task


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Timed]:
    """A running service at noon."""
    clock = ManualClock(NOON)
    async with running(tmp_path, clock) as made:
        timed = Timed(made.running, made.far)
        timed.clock = clock
        yield timed


async def _refused(awaitable: Any) -> tuple[grpc.StatusCode, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await awaitable
    bad = error_details_pb2.BadRequest()
    details = errors.from_rpc_error(refused.value).details
    return refused.value.code(), [violation.field for detail in details if detail.Unpack(bad) for violation in bad.field_violations]


async def test_once(bench: Timed) -> None:
    """A task for one time fires then, starts one run that knows of it, and is done."""
    made = await bench.schedule({"at": "2026-11-22T12:05:00Z"}, userId="ada", input={"topic": "sql"})
    assert made.next_fire_time.ToDatetime(tzinfo=UTC) == NOON + 5 * MINUTE
    (scheduled,) = await bench.told("task.scheduled")
    assert (scheduled.task_id, scheduled.user_id) == (made.task_id, "ada")
    bench.clock.advance(5 * MINUTE)
    task = await bench.fired(made.task_id, 1)
    assert (task.state, task.fire_count, task.missed_count) == (task_pb2.TASK_STATE_DONE, 1, 0)
    assert not task.HasField("next_fire_time")
    run = await bench.run_ended(task.last_run_id)
    expected = {"topic": "sql", "taskId": made.task_id, "fireTime": "2026-11-22T12:05:00Z"}
    assert json_format.MessageToDict(run.input) == expected
    (fired,) = await bench.told("task.fired")
    assert (fired.run_id, fired.late.ToTimedelta()) == (task.last_run_id, timedelta(0))
    assert bench.far.calls["python"] == 1


async def test_every(bench: Timed) -> None:
    """An interval fires again and again in its own rhythm, each fire one run."""
    made = await bench.schedule({"every": "60s"})
    for times in (1, 2, 3):
        bench.clock.advance(MINUTE)
        task = await bench.fired(made.task_id, times)
    assert task.next_fire_time.ToDatetime(tzinfo=UTC) == NOON + 4 * MINUTE
    assert len((await bench.stub.ListRuns(pb.ListRunsRequest(task_id=made.task_id))).runs) == 3
    assert bench.far.calls["python"] == 3


async def test_cron_in_a_time_zone(bench: Timed) -> None:
    """Cron is read in its zone: seven in Berlin's winter is six in UTC."""
    made = await bench.schedule({"cron": "0 7 * * MON-FRI", "timeZone": "Europe/Berlin"})
    assert made.next_fire_time.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 23, 6, tzinfo=UTC)


async def test_a_schedule_fires_after_a_restart(bench: Timed) -> None:
    """The fire that came while the service was down is made at start, once; those before it are told as missed."""
    made = await bench.schedule({"every": "60s"})
    await bench.running.stop()
    bench.clock.advance(5 * MINUTE + timedelta(seconds=30))
    await bench.running.start()
    task = await bench.fired(made.task_id, 1)
    assert (task.fire_count, task.missed_count) == (1, 4)
    assert task.last_fire_time.ToDatetime(tzinfo=UTC) == NOON + 5 * MINUTE
    assert task.next_fire_time.ToDatetime(tzinfo=UTC) == NOON + 6 * MINUTE
    (missed,) = await bench.told("task.missed")
    assert (missed.missed_count, missed.first_fire_time.ToDatetime(tzinfo=UTC)) == (4, NOON + MINUTE)
    (fired,) = await bench.told("task.fired")
    assert fired.late.ToTimedelta() == timedelta(seconds=30)
    await bench.running.restart()
    assert (await bench.task(made.task_id)).fire_count == 1
    assert bench.far.calls["python"] == 1


async def test_catch_up_is_a_setting(tmp_path: Path) -> None:
    """With three to make up, the three newest of five missed fires are made, oldest first."""
    clock = ManualClock(NOON)
    async with running(tmp_path, clock, catch_up_fires="3") as made:
        bench = Timed(made.running, made.far)
        task_id = (await bench.schedule({"every": "60s"})).task_id
        await bench.running.stop()
        clock.advance(5 * MINUTE)
        await bench.running.start()
        task = await bench.fired(task_id, 3)
        assert (task.fire_count, task.missed_count) == (3, 2)
        times = [event.fire_time.ToDatetime(tzinfo=UTC) for event in await bench.told("task.fired")]
        assert times == [NOON + count * MINUTE for count in (3, 4, 5)]


async def test_a_workflow_runs_in_its_newest_version(bench: Timed) -> None:
    """A task names a workflow; each fire takes the version that stands then, and the workflow cannot be deleted meanwhile."""
    for topic in ("old", "new"):
        dag = {"nodes": [start("a", topic)]}
        request = json_format.ParseDict({"workflowId": "drill", "dag": dag}, pb.CreateWorkflowRequest())
        await bench.stub.CreateWorkflow(request)
    made = await bench.schedule({"every": "60s"}, workflowId="drill")
    bench.clock.advance(MINUTE)
    task = await bench.fired(made.task_id, 1)
    assert (await bench.run_ended(task.last_run_id)).workflow_version == 2
    assert bench.far.calls["new"] == 1
    deleted = bench.stub.DeleteWorkflow(pb.DeleteWorkflowRequest(workflow_id="drill"))
    assert (await _refused(deleted))[0] == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_fire_that_cannot_start_a_run_says_why(tmp_path: Path) -> None:
    """When too many runs are unfinished the fire is told with its problem, and the task goes on."""
    clock = ManualClock(NOON)
    async with running(tmp_path, clock, unfinished_runs="1") as made:
        bench = Timed(made.running, made.far)
        bench.far.gates["slow"] = asyncio.Event()
        await bench.execute(start("a", "slow"), wait="0s")
        await bench.far.called("slow")
        task_id = (await bench.schedule({"every": "60s"})).task_id
        clock.advance(MINUTE)
        async with asyncio.timeout(60):
            while not (task := await bench.task(task_id)).fire_count:  # noqa: ASYNC110 # nothing else tells of it
                await asyncio.sleep(0.01)
        (fired,) = await bench.told("task.fired")
        assert (fired.run_id, "unfinished" in fired.problem) == ("", True)
        assert (task.last_problem, task.state) == (fired.problem, task_pb2.TASK_STATE_ACTIVE)


async def test_pause_and_resume(bench: Timed) -> None:
    """A paused task fires nothing; resumed, it goes on from its first time after now, and what it slept through is not made up."""
    task_id = (await bench.schedule({"every": "60s"})).task_id
    paused = (await bench.stub.PauseTask(pb.PauseTaskRequest(task_id=task_id))).task
    assert paused.state == task_pb2.TASK_STATE_PAUSED
    bench.clock.advance(5 * MINUTE)
    await bench.running.restart()
    resumed = (await bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))).task
    assert (resumed.state, resumed.fire_count) == (task_pb2.TASK_STATE_ACTIVE, 0)
    assert resumed.next_fire_time.ToDatetime(tzinfo=UTC) == NOON + 6 * MINUTE
    bench.clock.advance(MINUTE)
    assert (await bench.fired(task_id, 1)).missed_count == 0


async def test_resumed_after_the_clock_was_set_back(bench: Timed) -> None:
    """A fire that was made is not made again, and the task goes on after it: it must not end the scheduler."""
    task_id = (await bench.schedule({"every": "60s"})).task_id
    bench.clock.advance(MINUTE)
    assert (await bench.fired(task_id, 1)).last_fire_time.ToDatetime(tzinfo=UTC) == NOON + MINUTE
    bench.clock.advance(-MINUTE)
    await bench.stub.PauseTask(pb.PauseTaskRequest(task_id=task_id))
    await bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))
    bench.clock.advance(MINUTE)
    async with asyncio.timeout(60):
        while (await bench.task(task_id)).next_fire_time.ToDatetime(tzinfo=UTC) != NOON + 2 * MINUTE:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)
    assert (await bench.task(task_id)).fire_count == 1
    bench.clock.advance(MINUTE)
    assert (await bench.fired(task_id, 2)).last_fire_time.ToDatetime(tzinfo=UTC) == NOON + 2 * MINUTE


@pytest.mark.parametrize("again", [False, True], ids=["running", "started anew"])
async def test_rhythms_go_on_after_the_clock_was_set_back(bench: Timed, again: bool) -> None:
    """By an hour: what fires each minute does not rest for that hour. A time of the day that has been is not repeated."""
    often, daily = [(await bench.schedule(rhythm)).task_id for rhythm in ({"every": "60s"}, {"cron": "1 12 * * *"})]
    bench.clock.advance(MINUTE)
    for task_id in (often, daily):
        await bench.fired(task_id, 1)
    bench.clock.advance(-timedelta(hours=1))
    if again:
        await bench.running.restart()
    async with asyncio.timeout(60):
        while (await bench.task(often)).next_fire_time.ToDatetime(tzinfo=UTC) > NOON - 58 * MINUTE:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)
    bench.clock.advance(MINUTE)
    await bench.fired(often, 2)
    bench.clock.advance(timedelta(hours=1))
    await bench.fired(often, 3)
    assert (await bench.task(daily)).fire_count == 1


async def test_a_task_that_was_paused_when_the_clock_was_set_back(bench: Timed) -> None:
    """Resumed within the time that comes again, it fires in it as all others do; a time of day that has been is not repeated."""
    rhythms = ({"every": "60s"}, {"every": "60s"}, {"cron": "1 12 * * *"})
    going, often, daily = [(await bench.schedule(rhythm)).task_id for rhythm in rhythms]
    bench.clock.advance(MINUTE)
    for task_id in (going, often, daily):
        await bench.fired(task_id, 1)
    for task_id in (often, daily):
        await bench.stub.PauseTask(pb.PauseTaskRequest(task_id=task_id))
    bench.clock.advance(-2 * MINUTE)
    async with asyncio.timeout(60):
        while (await bench.task(going)).next_fire_time.ToDatetime(tzinfo=UTC) > NOON:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0.01)
    for task_id in (often, daily):
        await bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))
    for fires in (2, 3):
        bench.clock.advance(MINUTE)
        await bench.fired(often, fires)
    assert (await bench.task(daily)).fire_count == 1


async def test_what_a_done_task_refuses(bench: Timed) -> None:
    """A task that has fired for the last time can be neither paused nor resumed, only deleted."""
    task_id = (await bench.schedule({"at": "2026-11-22T12:01:00Z"})).task_id
    bench.clock.advance(MINUTE)
    await bench.fired(task_id, 1)
    assert (await _refused(bench.stub.PauseTask(pb.PauseTaskRequest(task_id=task_id))))[0] == grpc.StatusCode.FAILED_PRECONDITION
    assert (await _refused(bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))))[0] == grpc.StatusCode.FAILED_PRECONDITION
    await bench.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))
    assert (await _refused(bench.stub.GetTask(pb.GetTaskRequest(task_id=task_id))))[0] == grpc.StatusCode.NOT_FOUND


async def test_a_paused_single_time_that_has_passed_cannot_be_resumed(bench: Timed) -> None:
    """There is nothing left that it could fire."""
    task_id = (await bench.schedule({"at": "2026-11-22T12:01:00Z"})).task_id
    await bench.stub.PauseTask(pb.PauseTaskRequest(task_id=task_id))
    bench.clock.advance(2 * MINUTE)
    assert (await _refused(bench.stub.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))))[0] == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        ({"at": "2026-11-22T12:00:00Z"}, "schedule.at"),
        ({"at": "9999-12-31T23:59:59Z"}, "schedule.at"),
        ({"every": "0.5s"}, "schedule.every"),
        ({"every": "-5s"}, "schedule.every"),
        ({"cron": "61 * * * *"}, "schedule.cron"),
        ({"cron": "0 0 30 2 *"}, "schedule.cron"),
        ({"cron": "0 0 * * *", "timeZone": "Mars/Olympus"}, "schedule.time_zone"),
        ({"cron": "0 0 * * *", "timeZone": "Europe"}, "schedule.time_zone"),
        ({}, "schedule.kind"),
    ],
)
async def test_schedules_that_cannot_be_are_refused(bench: Timed, schedule: dict[str, Any], field: str) -> None:
    """The refusal names the part of the schedule that is wrong."""
    assert await _refused(bench.schedule(schedule)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_task_needs_something_to_run(bench: Timed) -> None:
    """A faulty DAG, an unknown workflow and nothing at all are refused when the task is made."""
    assert (await _refused(bench.schedule({"every": "60s"}, dag={"nodes": [start("a", "x", "gone")]})))[
        0
    ] == grpc.StatusCode.INVALID_ARGUMENT
    assert (await _refused(bench.schedule({"every": "60s"}, workflowId="gone")))[0] == grpc.StatusCode.NOT_FOUND
    assert (await _refused(bench.schedule({"every": "60s"}, workflowId="")))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_same_request_id_is_the_same_task(bench: Timed) -> None:
    """A repeat makes no second task."""
    request_id = str(uuid4())
    first = await bench.schedule({"every": "60s"}, requestId=request_id)
    assert await bench.schedule({"every": "60s"}, requestId=request_id) == first
    assert len((await bench.stub.ListTasks(pb.ListTasksRequest())).tasks) == 1


async def test_lists_page_and_filter(bench: Timed) -> None:
    """Pages give every task once, newest first, without DAG; filters restrict."""
    made = []
    for number in range(3):
        made.append((await bench.schedule({"every": "60s"}, userId="ada" if number else "bob")).task_id)
        bench.clock.advance(timedelta(seconds=1))
    first = await bench.stub.ListTasks(pb.ListTasksRequest(page_size=2))
    second = await bench.stub.ListTasks(pb.ListTasksRequest(page_size=2, page_token=first.next_page_token))
    assert not (await bench.stub.ListTasks(pb.ListTasksRequest(page_size=3))).next_page_token
    assert [task.task_id for task in (*first.tasks, *second.tasks)] == made[::-1]
    assert not first.tasks[0].HasField("dag")
    ada = await bench.stub.ListTasks(pb.ListTasksRequest(user_id="ada", state=task_pb2.TASK_STATE_ACTIVE))
    assert [task.task_id for task in ada.tasks] == made[:0:-1]


@pytest.mark.timeout(120)
async def test_a_long_list_of_fires_keeps_nobody_waiting(bench: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the next fires of many tasks are worked out, other calls are answered and runs go on."""
    begun, go_on, upcoming = threading.Event(), threading.Event(), wire.upcoming_fires

    def slow(record: TaskRecord, count: int) -> list[datetime]:
        begun.set()
        assert not count or go_on.wait(30)
        return upcoming(record, count)

    monkeypatch.setattr(wire, "upcoming_fires", slow)
    made = await bench.schedule({"every": "60s"})
    listed = asyncio.ensure_future(bench.stub.ListTasks(pb.ListTasksRequest(upcoming_fires=2)))
    assert await asyncio.to_thread(begun.wait, 30)
    assert (await bench.task(made.task_id)).state == task_pb2.TASK_STATE_ACTIVE
    go_on.set()
    assert len((await listed).tasks[0].upcoming_fire_times) == 2


@pytest.mark.parametrize("call", ["GetTask", "PauseTask", "ResumeTask", "DeleteTask"])
async def test_an_unknown_task_is_not_found(bench: Timed, call: str) -> None:
    """Every call that names a task says when there is none."""
    request = getattr(pb, f"{call}Request")(task_id=UNKNOWN)
    assert (await _refused(getattr(bench.stub, call)(request)))[0] == grpc.StatusCode.NOT_FOUND


async def test_the_next_fires_are_told_when_they_are_asked_for(bench: Timed) -> None:
    """As many as asked, in order, over the change to summer time; a paused task has none, one that fires once has one."""
    daily = await bench.schedule({"cron": "30 2 * * *", "timeZone": "Europe/Berlin"})
    once = await bench.schedule({"at": "2026-11-23T12:00:00Z"}, name="once")
    tasks = (await bench.stub.ListTasks(pb.ListTasksRequest(upcoming_fires=3))).tasks
    found = {task.task_id: [moment.ToJsonString() for moment in task.upcoming_fire_times] for task in tasks}
    assert found[daily.task_id] == [f"2026-11-{day}T01:30:00Z" for day in (23, 24, 25)]
    assert found[once.task_id] == ["2026-11-23T12:00:00Z"]
    assert not (await bench.task(daily.task_id)).upcoming_fire_times
    task = (await bench.stub.GetTask(pb.GetTaskRequest(task_id=daily.task_id, upcoming_fires=2))).task
    assert task.upcoming_fire_times[0] == task.next_fire_time
    await bench.stub.PauseTask(pb.PauseTaskRequest(task_id=daily.task_id))
    paused = (await bench.stub.GetTask(pb.GetTaskRequest(task_id=daily.task_id, upcoming_fires=2))).task
    assert not paused.upcoming_fire_times


async def test_tasks_that_are_done_take_no_room(tmp_path: Path) -> None:
    """The limit counts tasks that may still fire; one that is done goes with its last run."""
    clock = ManualClock(NOON)
    async with running(tmp_path, clock, max_tasks="1", keep_runs="1h", run_lease="60ms") as made:
        bench = Timed(made.running, made.far)
        once = (await bench.schedule({"at": "2026-11-22T12:05:00Z"})).task_id
        assert (await _refused(bench.schedule({"every": "60s"})))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        clock.advance(5 * MINUTE)
        await bench.fired(once, 1)
        often = (await bench.schedule({"every": "600s"})).task_id
        clock.advance(timedelta(hours=1, minutes=1))
        async with asyncio.timeout(60):
            while len((await bench.stub.ListTasks(pb.ListTasksRequest())).tasks) > 1:  # noqa: ASYNC110 # nothing tells of it
                await asyncio.sleep(0.02)
        assert (await bench.task(often)).state == task_pb2.TASK_STATE_ACTIVE
