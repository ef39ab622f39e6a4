"""What the orchestration service tells, and what it hears: its own intent.classified, which starts the bound workflow."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.message import Message
from tooloo.event.v1 import event_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2 as told

from mesh.clock import from_us
from mesh.db import Transaction
from mesh.inbox import Handler
from mesh.outbox import Fact
from services.orchestration import run as runs
from services.orchestration import wire, workflow_store
from services.orchestration.intent import Reading
from services.orchestration.records import Origin, RunRecord, TaskRecord

# puts a run of a workflow into the store; gives its id
StartWorkflow = Callable[[Transaction, str, Origin], Awaitable[str]]


def _fact(message: Message, subject: str, user_id: str) -> Fact:
    """An event; its subject lies under the user's when there is one."""
    if not user_id:
        return Fact(message, subject)
    return Fact(message, f"users/{user_id}/{subject}", {"user": user_id})


def intent_classified(intent_id: str, user_id: str, text: str, reading: Reading, slots: Mapping[str, Any]) -> Fact:
    """A text was classified."""
    message = told.IntentClassified(
        intent_id=intent_id,
        user_id=user_id,
        text=text,
        name=reading.name,
        confidence=reading.confidence,
        out_of_scope=reading.out_of_scope,
        slots=wire.struct_of(slots),
    )
    return _fact(message, f"intents/{intent_id}", user_id)


def dag_started(record: RunRecord, node_count: int) -> Fact:
    """A run was accepted."""
    message = told.DagStarted(
        run_id=record.run_id,
        user_id=record.user_id,
        workflow_id=record.workflow_id,
        workflow_version=record.workflow_version,
        task_id=record.task_id,
        intent_id=record.intent_id,
        node_count=node_count,
    )
    return _run_fact(message, record)


def _run_fact(message: Message, record: RunRecord) -> Fact:
    return _fact(message, f"runs/{record.run_id}", record.user_id)


def of_node(record: RunRecord, before: runs.Run, after: runs.Run, fact: runs.Fact) -> Fact | None:
    """What is told of a node's fact: that it completed or failed for good; of attempts nothing."""
    if isinstance(fact, runs.NodeSucceeded):
        return _run_fact(_node_completed(record, after, fact), record)
    if isinstance(fact, runs.NodeFailed):
        return _run_fact(_node_failed(record, before, fact), record)
    return None


def _node_completed(record: RunRecord, after: runs.Run, fact: runs.NodeSucceeded) -> told.DagNodeCompleted:
    progress = after.nodes[fact.node]
    message = told.DagNodeCompleted(
        run_id=record.run_id,
        node_id=fact.node,
        call=after.dag.by_id[fact.node].call,
        user_id=record.user_id,
        attempts=progress.starts,
    )
    message.duration.FromTimedelta(_span(progress.start_time, fact.time))
    return message


def _node_failed(record: RunRecord, before: runs.Run, fact: runs.NodeFailed) -> told.DagNodeFailed:
    return told.DagNodeFailed(
        run_id=record.run_id,
        node_id=fact.node,
        call=before.dag.by_id[fact.node].call,
        user_id=record.user_id,
        attempts=before.nodes[fact.node].starts,
        error=wire.error_message(fact.failure),
        skipped=runs.skipped_by(before, fact.node),
    )


def dag_completed(record: RunRecord, state: runs.Run, ended: datetime) -> Fact:
    """A run has ended."""
    counts = runs.counts(state)
    message = told.DagCompleted(
        run_id=record.run_id,
        state=wire.RUN_STATES[state.status.value],
        reason=state.reason,
        user_id=record.user_id,
        workflow_id=record.workflow_id,
        task_id=record.task_id,
        intent_id=record.intent_id,
        succeeded_nodes=counts[runs.NodeStatus.SUCCEEDED],
        failed_nodes=counts[runs.NodeStatus.FAILED],
        skipped_nodes=counts[runs.NodeStatus.SKIPPED] + counts[runs.NodeStatus.CANCELLED],
    )
    message.duration.FromTimedelta(_span(from_us(record.created_us), ended))
    return _run_fact(message, record)


def _span(start: datetime | None, end: datetime) -> timedelta:
    return max(timedelta(0), end - start) if start else timedelta(0)


def _task_fact(message: Message, task: TaskRecord) -> Fact:
    return _fact(message, f"tasks/{task.task_id}", task.user_id)


def task_scheduled(task: TaskRecord, next_fire: datetime) -> Fact:
    """A task was put on its schedule."""
    message = told.TaskScheduled(task_id=task.task_id, name=task.name, user_id=task.user_id)
    message.next_fire_time.FromDatetime(next_fire)
    return _task_fact(message, task)


def task_fired(task: TaskRecord, fire: datetime, now: datetime, run_id: str, problem: str) -> Fact:
    """A task fired; `run_id` is "" when it could not start a run, for the reason in `problem`."""
    message = told.TaskFired(task_id=task.task_id, name=task.name, user_id=task.user_id, run_id=run_id, problem=problem)
    message.fire_time.FromDatetime(fire)
    message.late.FromTimedelta(_span(fire, now))
    return _task_fact(message, task)


def task_missed(task: TaskRecord, count: int, first: datetime, last: datetime) -> Fact:
    """Fires of a task are not made up."""
    message = told.TaskMissed(task_id=task.task_id, name=task.name, user_id=task.user_id, missed_count=count)
    message.first_fire_time.FromDatetime(first)
    message.last_fire_time.FromDatetime(last)
    return _task_fact(message, task)


def handlers(start_workflow: StartWorkflow) -> dict[str, Handler]:
    """What is listened for."""

    async def start_bound_workflow(tx: Transaction, _event: event_pb2.Event, data: Message) -> None:
        if not isinstance(data, told.IntentClassified) or data.out_of_scope:
            return
        binding = await workflow_store.find_binding(tx, data.name)
        if binding is None or data.confidence < binding.min_confidence:
            return
        await start_workflow(tx, binding.workflow_id, Origin(_input_of(data), data.user_id, intent_id=data.intent_id))

    return {"intent.classified": start_bound_workflow}


def _input_of(data: told.IntentClassified) -> dict[str, Any]:
    """What a workflow started by an intent sees as ${input}."""
    return {
        "userId": data.user_id,
        "text": data.text,
        "intent": data.name,
        "intentId": data.intent_id,
        "confidence": data.confidence,
        "slots": wire.json_of(data.slots, "slots"),
    }
