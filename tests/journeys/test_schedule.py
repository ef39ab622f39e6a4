"""Schedules: what was scheduled fires once, although the orchestration service, or the whole mesh, was not there in between."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
from tooloo.orchestration.v1.orchestration_service_pb2 import GetTaskRequest
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub
from tooloo.orchestration.v1.task_pb2 import TASK_STATE_DONE

from tests.journeys.conftest import Connected
from tests.journeys.steps import Json, get, kill_and_await, post, told
from tests.support.mesh import Mesh, eventually

LOG = {
    "id": "log",
    "call": "tooloo.analytics.v1.AnalyticsService/LogMetric",
    "input": {"name": "fired", "value": 1, "labels": {"task": "${input.taskId}"}},
}


async def _schedule(client: httpx.AsyncClient, name: str, schedule: Json) -> Json:
    return await post(client, "task/schedule", {"name": name, "schedule": schedule, "dag": {"nodes": [LOG]}, "userId": "ada.plans"})


async def _schedule_once(client: httpx.AsyncClient, name: str, lead: float) -> Json:
    """A task of one time, so soon; later when the machine stood still until that was over, which is refused."""
    try:
        return await _schedule(client, name, {"at": _soon(lead)})
    except AssertionError:
        return await _schedule(client, name, {"at": _soon(30)})


def _soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_task_fires_after_the_service_was_killed(mesh: Mesh) -> None:
    """A one-time task and a rhythm are scheduled, the service is killed at once: both fire, no fire twice, in rhythm."""
    async with mesh.rest() as client:
        once = await _schedule_once(client, "once", 2)
        rhythm = await _schedule(client, "rhythm", {"every": "1s"})
        await kill_and_await(mesh, "orchestration")
        (fired,) = await told(mesh, "task.fired", taskId=once["taskId"])
        assert fired["data"]["fireTime"] == once["nextFireTime"]
        await eventually(lambda: _fires(mesh, rhythm["taskId"]), lambda fires: len(fires) >= 3)
        await post(client, f"tasks/{rhythm['taskId']}/pause", {})
        await told(mesh, "metric.logged", name="fired", labels={"task": once["taskId"]})

        task = (await get(client, f"tasks/{rhythm['taskId']}"))["task"]
        fires = await eventually(lambda: _fires(mesh, rhythm["taskId"]), lambda fires: len(fires) >= int(task["fireCount"]))
    assert len(set(fires)) == len(fires) == int(task["fireCount"])
    start = datetime.fromisoformat(rhythm["nextFireTime"])
    offsets = [(datetime.fromisoformat(fire) - start) / timedelta(seconds=1) for fire in fires]
    assert all(offset == int(offset) for offset in offsets), "the rhythm does not drift over a crash"

    async with mesh.channel("orchestration") as own_port:
        done = (await OrchestrationServiceStub(own_port).GetTask(GetTaskRequest(task_id=once["taskId"]))).task
    assert (done.state, done.fire_count) == (TASK_STATE_DONE, 1)


async def _now() -> datetime:
    return datetime.now(UTC)


async def _fires(mesh: Mesh, task_id: str) -> list[str]:
    return [event["data"]["fireTime"] for event in await mesh.events("task.fired") if event["data"]["taskId"] == task_id]


async def _stopped_before_its_time(mesh: Mesh) -> tuple[Json, datetime]:
    """A one-time task of a mesh that has stopped before it is due, however long stopping takes, and when it had."""
    for lead in (3, 10, 30, 60):
        async with mesh.rest() as client:
            task = await _schedule_once(client, "overnight", lead)
        await asyncio.to_thread(mesh.stop)
        stopped = datetime.now(UTC)
        if stopped < datetime.fromisoformat(task["nextFireTime"]):
            return task, stopped
        await asyncio.to_thread(mesh.start)
    raise AssertionError("the mesh does not stop within a minute")


async def test_a_task_fires_after_the_whole_mesh_was_stopped(connected: Connected) -> None:
    """Its time passes while nothing runs: after the next start it is made up once. What comes later keeps its time."""
    mesh = connected.mesh
    async with mesh.rest() as client:
        later = await _schedule(client, "yearly", {"cron": "30 2 1 1 *", "timeZone": "Europe/Berlin"})
    task, stopped = await _stopped_before_its_time(mesh)
    due = datetime.fromisoformat(task["nextFireTime"])
    await eventually(_now, lambda now: now > due, 60)
    await asyncio.to_thread(mesh.start)
    (fired,) = await told(mesh, "task.fired", taskId=task["taskId"])
    assert fired["data"]["fireTime"] == task["nextFireTime"]
    assert datetime.fromisoformat(fired["time"]) > stopped
    await told(mesh, "metric.logged", name="fired", labels={"task": task["taskId"]})
    async with mesh.rest() as client:
        kept = (await get(client, f"tasks/{later['taskId']}"))["task"]
        assert kept["nextFireTime"] == later["nextFireTime"]
        assert kept["nextFireTime"].endswith("-01-01T01:30:00Z"), "half past two in Berlin's winter"
    async with mesh.channel() as door:
        done = (await OrchestrationServiceStub(door).GetTask(GetTaskRequest(task_id=task["taskId"]))).task
    assert (done.state, done.fire_count, done.missed_count) == (TASK_STATE_DONE, 1, 0)
