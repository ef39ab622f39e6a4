"""Tasks: schedule, get, list, pause, resume, delete."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import task_pb2

from mesh import errors
from mesh.clock import from_us, to_us
from mesh.db import Transaction
from services.orchestration import events, schedule, task_store, wire, workflow_store
from services.orchestration.flows.base import Calls, Context, page_of, shown_of
from services.orchestration.records import TaskRecord


class TaskCalls(Calls):
    """ScheduleTask, GetTask, ListTasks, PauseTask, ResumeTask, DeleteTask."""

    async def ScheduleTask(self, request: pb.ScheduleTaskRequest, context: Context) -> pb.ScheduleTaskResponse:
        """Makes a task and puts it on its schedule."""
        self._check_target(request.dag, request.HasField("dag"), request.workflow_id)
        values = self._input_of(request.input)

        async def effect(tx: Transaction) -> pb.ScheduleTaskResponse:
            created_us = to_us(self._host.clock.now())
            next_fire = _first_fire(request.schedule, created_us)
            await self._check_room(tx, request.workflow_id)
            task = TaskRecord(
                task_id=self._host.ids(),
                name=request.name,
                status="active",
                schedule=request.schedule.SerializeToString(),
                dag=request.dag.SerializeToString() if request.HasField("dag") else None,
                workflow_id=request.workflow_id,
                input=json.dumps(values),
                user_id=request.user_id,
                created_us=created_us,
                next_fire_us=to_us(next_fire),
            )
            await task_store.save_task(tx, task)
            await self._host.tell(tx, events.task_scheduled(task, next_fire))
            tx.after_commit(self._parts.scheduler.wake)
            response = pb.ScheduleTaskResponse(task_id=task.task_id)
            response.next_fire_time.FromDatetime(next_fire)
            return response

        return await self._host.once(request, pb.ScheduleTaskResponse, effect)

    async def _check_room(self, tx: Transaction, workflow_id: str) -> None:
        if workflow_id and await workflow_store.find_workflow(tx, workflow_id) is None:
            raise errors.not_found("workflow", workflow_id)
        limit = self._settings.max_tasks
        if await task_store.count_tasks(tx) >= limit:
            raise errors.exhausted(self._settings.env_name("max_tasks"), f"{limit} tasks may still fire; delete some")

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        """Gets a task."""
        found = await self._host.db.read(lambda tx: _find(tx, request.task_id))
        return pb.GetTaskResponse(task=wire.task_message(found, upcoming=request.upcoming_fires))

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        """Lists tasks, newest first."""
        page = page_of(request, request.page_size, request.page_token)
        status = wire.name_of(wire.TASK_STATES, request.state)
        found = await self._host.db.read(lambda tx: task_store.list_tasks(tx, page, status=status, user_id=request.user_id))
        shown, token = shown_of(request, found, page, lambda task: (task.created_us, task.task_id))
        # a thread, because a hundred fires of each of a thousand tasks take seconds
        tasks = await asyncio.to_thread(
            lambda: [wire.task_message(record, whole=False, upcoming=request.upcoming_fires) for record in shown]
        )
        return pb.ListTasksResponse(tasks=tasks, next_page_token=token)

    async def PauseTask(self, request: pb.PauseTaskRequest, context: Context) -> pb.PauseTaskResponse:
        """Stops a task from firing."""

        async def effect(tx: Transaction) -> pb.PauseTaskResponse:
            task = await self._change(tx, request.task_id, self._paused)
            return pb.PauseTaskResponse(task=wire.task_message(task))

        return await self._host.once(request, pb.PauseTaskResponse, effect)

    async def ResumeTask(self, request: pb.ResumeTaskRequest, context: Context) -> pb.ResumeTaskResponse:
        """Lets a task fire again from its first time after now."""

        async def effect(tx: Transaction) -> pb.ResumeTaskResponse:
            task = await self._change(tx, request.task_id, self._resumed)
            await self._fire_anew(tx, task)
            return pb.ResumeTaskResponse(task=wire.task_message(task))

        return await self._host.once(request, pb.ResumeTaskResponse, effect)

    async def DeleteTask(self, request: pb.DeleteTaskRequest, context: Context) -> pb.DeleteTaskResponse:
        """Deletes a task."""

        async def effect(tx: Transaction) -> pb.DeleteTaskResponse:
            if not await task_store.delete_task(tx, request.task_id):
                raise errors.not_found("task", request.task_id)
            return pb.DeleteTaskResponse()

        return await self._host.once(request, pb.DeleteTaskResponse, effect)

    async def _change(self, tx: Transaction, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        task = await _find(tx, task_id)
        if task.status == "done":
            raise errors.failed_precondition(f"tasks/{task_id}", "the task has fired for the last time; schedule a new one")
        changed = change(task)
        if changed != task:
            await task_store.save_task(tx, changed)
            tx.after_commit(self._parts.scheduler.wake)
        return changed

    async def _fire_anew(self, tx: Transaction, task: TaskRecord) -> None:
        """After the clock was set back: the rhythm of a task that was paused then goes on from now, as that of all others did."""
        now = self._host.clock.now()
        if task.last_fire_us is None or from_us(task.last_fire_us) <= now:
            return
        rhythm = wire.schedule_of(task_pb2.Schedule.FromString(task.schedule), task.created_us)
        if schedule.after_set_back(rhythm, from_us(task.last_fire_us), now):
            await task_store.forget_fires(tx, task.task_id, to_us(now))

    def _paused(self, task: TaskRecord) -> TaskRecord:
        return replace(task, status="paused")

    def _resumed(self, task: TaskRecord) -> TaskRecord:
        if task.status == "active":
            return task
        rhythm = wire.schedule_of(task_pb2.Schedule.FromString(task.schedule), task.created_us)
        try:
            following = schedule.next_fire(rhythm, self._host.clock.now())
        except schedule.InvalidSchedule as error:
            raise wire.refusal_of(error) from error
        if following is None:
            raise errors.failed_precondition(f"tasks/{task.task_id}", "its time has passed; schedule a new task")
        return replace(task, status="active", next_fire_us=to_us(following))


async def _find(tx: Transaction, task_id: str) -> TaskRecord:
    task = await task_store.find_task(tx, task_id)
    if task is None:
        raise errors.not_found("task", task_id)
    return task


def _first_fire(message: task_pb2.Schedule, created_us: int) -> datetime:
    """When a new schedule fires first; INVALID_ARGUMENT when it never does."""
    try:
        if message.time_zone:
            schedule.zone(message.time_zone)
        first = schedule.next_fire(wire.schedule_of(message, created_us), from_us(created_us))
    except schedule.InvalidSchedule as error:
        raise wire.refusal_of(error) from error
    if first is None:
        reason = ErrorReason.ERROR_REASON_INVALID_SCHEDULE
        field = f"schedule.{message.WhichOneof('kind')}"
        raise errors.invalid(field, "it never fires; give a time in the future", reason=reason)
    return first
