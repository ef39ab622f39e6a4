"""Fires tasks when they are due: noting the fire, starting its run and moving the task on are one transaction."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from tooloo.orchestration.v1 import dag_pb2, task_pb2

from mesh import errors
from mesh.clock import from_us, to_us
from mesh.db import Transaction
from mesh.host import Host
from services.orchestration import events, schedule, task_store, wire
from services.orchestration.records import Origin, TaskRecord, input_of_fire
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers.changes import wait
from services.orchestration.workers.starter import Starter

_TASKS_AT_A_TIME = 100


class Scheduler:
    """The background loop of tasks."""

    def __init__(self, host: Host, settings: OrchestrationSettings, starter: Starter) -> None:
        self._host = host
        self._settings = settings
        self._starter = starter
        self._woken = asyncio.Event()
        # the latest time that was seen; before the first look nobody knows what the clock did meanwhile
        self._seen = datetime.max.replace(tzinfo=UTC)

    def wake(self) -> None:
        """Says that a task was made or changed."""
        self._woken.set()

    async def run(self) -> None:
        """Fires what is due, then waits for the next; for ever."""
        while True:
            self._woken.clear()
            if not await self.fire_due():
                await wait(self._woken, await self._seconds_to_next())

    async def fire_due(self) -> int:
        """Fires every task that is due now, up to a batch; gives their number."""
        now = self._host.clock.now()
        if now < self._seen:
            await self._begin_again(now)
        self._seen = now
        due = await self._host.db.read(lambda tx: task_store.due_tasks(tx, to_us(now), _TASKS_AT_A_TIME))
        for task_id in due:
            await self._host.db.write(partial(self._fire, task_id=task_id, now=now))
        return len(due)

    async def _begin_again(self, now: datetime) -> None:
        """After the clock was set back: rhythms that would rest until it has caught up go on from now."""
        for task_id in await self._host.db.read(lambda tx: task_store.tasks_ahead(tx, to_us(now))):
            await self._host.db.write(partial(self._rewind, task_id=task_id, now=now))

    async def _rewind(self, tx: Transaction, task_id: str, now: datetime) -> None:
        task = await task_store.find_task(tx, task_id)
        if task is None or task.status != "active" or task.next_fire_us is None:
            return
        rhythm = wire.schedule_of(task_pb2.Schedule.FromString(task.schedule), task.created_us)
        last = from_us(task.created_us if task.last_fire_us is None else task.last_fire_us)
        try:
            following = schedule.after_set_back(rhythm, last, now)
        except schedule.InvalidSchedule:
            # it is told when it is due
            return
        if following:
            await task_store.forget_fires(tx, task_id, to_us(now))
            await task_store.save_task(tx, replace(task, next_fire_us=to_us(following)))

    async def _seconds_to_next(self) -> float:
        """At most the poll interval: another process may make a task, and the wall clock may be set."""
        poll = self._settings.poll_interval.total_seconds()
        next_us = await self._host.db.read(task_store.next_due_us)
        if next_us is None:
            return poll
        return min(poll, max(0.0, (from_us(next_us) - self._host.clock.now()).total_seconds()))

    async def _fire(self, tx: Transaction, task_id: str, now: datetime) -> None:
        task = await task_store.find_task(tx, task_id)
        # another process may have fired it, or someone paused it, since it was found due
        if task is None or task.status != "active" or task.next_fire_us is None or from_us(task.next_fire_us) > now:
            return
        rhythm = wire.schedule_of(task_pb2.Schedule.FromString(task.schedule), task.created_us)
        first = from_us(task.next_fire_us)
        try:
            due = schedule.due(rhythm, first, now, self._settings.catch_up_fires, self._settings.max_missed_counted)
        except schedule.InvalidSchedule as error:
            # the machine does not have its time zone any more: it must not keep all others from firing
            await self._host.tell(tx, events.task_fired(task, first, now, "", str(error)))
            await task_store.save_task(tx, replace(task, status="paused", last_problem=str(error)))
            return
        if due.first_missed and due.last_missed:
            await self._host.tell(tx, events.task_missed(task, due.missed_count, due.first_missed, due.last_missed))
            task = replace(task, missed_count=task.missed_count + due.missed_count)
        for fire in due.fires:
            # resumed after the clock was set back, a task comes by what it has fired
            if not await task_store.has_fired(tx, task.task_id, to_us(fire)):
                task = await self._start(tx, task, fire, now)
        following = to_us(due.following) if due.following else None
        await task_store.save_task(tx, replace(task, next_fire_us=following, status="active" if following else "done"))

    async def _start(self, tx: Transaction, task: TaskRecord, fire: datetime, now: datetime) -> TaskRecord:
        run_id, problem = "", ""
        try:
            run_id = await self._start_run(tx, task, fire)
        except errors.Refusal as refusal:
            problem = refusal.message
        if not await task_store.note_fire(tx, task.task_id, to_us(fire), run_id):
            raise RuntimeError(f"task {task.task_id} fired twice for {fire}")
        await self._host.tell(tx, events.task_fired(task, fire, now, run_id, problem))
        return replace(task, last_fire_us=to_us(fire), last_run_id=run_id, last_problem=problem, fire_count=task.fire_count + 1)

    async def _start_run(self, tx: Transaction, task: TaskRecord, fire: datetime) -> str:
        origin = Origin(input_of_fire(task, fire), task.user_id, task_id=task.task_id)
        if task.dag is None:
            return await self._starter.start_workflow(tx, task.workflow_id, origin)
        return await self._starter.start_dag(tx, task.dag, len(dag_pb2.Dag.FromString(task.dag).nodes), origin)
