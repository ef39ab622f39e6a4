"""Between the contract's messages and the domain's values."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.orchestration.v1 import dag_pb2, run_pb2, task_pb2, workflow_pb2
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb

from mesh import errors
from mesh.clock import from_us
from services.orchestration import run as runs
from services.orchestration.dag import Dag, Node, RetryRule
from services.orchestration.records import RunRecord, TaskRecord, WorkflowRecord
from services.orchestration.schedule import Cron, Every, InvalidSchedule, Once, Schedule, fires
from services.orchestration.settings import OrchestrationSettings

RUN_STATES = {
    runs.RunStatus.RUNNING.value: run_pb2.RUN_STATE_RUNNING,
    runs.RunStatus.SUCCEEDED.value: run_pb2.RUN_STATE_SUCCEEDED,
    runs.RunStatus.FAILED.value: run_pb2.RUN_STATE_FAILED,
    runs.RunStatus.CANCELLED.value: run_pb2.RUN_STATE_CANCELLED,
}
TASK_STATES = {
    "active": task_pb2.TASK_STATE_ACTIVE,
    "paused": task_pb2.TASK_STATE_PAUSED,
    "done": task_pb2.TASK_STATE_DONE,
}
_NODE_STATES = {status: run_pb2.NodeState.Value(f"NODE_STATE_{status.name}") for status in runs.NodeStatus}


def name_of(states: Mapping[str, int], state: int) -> str:
    """The stored name of a state; "" for unspecified."""
    return next((name for name, value in states.items() if value == state), "")


def json_of(struct: Struct, field: str) -> dict[str, Any]:
    """A Struct as a JSON object; INVALID_ARGUMENT for what JSON cannot hold (NaN, infinity)."""
    try:
        return dict(json_format.MessageToDict(struct))
    except (json_format.Error, ValueError, RecursionError):
        raise errors.invalid(field, "must be JSON: no NaN, no infinity") from None


def struct_of(values: Mapping[str, Any]) -> Struct:
    """A JSON object as a Struct."""
    struct = Struct()
    json_format.ParseDict(dict(values), struct)
    return struct


def dag_of(message: dag_pb2.Dag, settings: OrchestrationSettings) -> Dag:
    """The domain's DAG, with the settings' rules where the message gives none."""
    return Dag(tuple(_node(node, index, settings) for index, node in enumerate(message.nodes)))


def stored_dag(data: bytes, settings: OrchestrationSettings) -> Dag:
    """The domain's DAG of a serialized message that was checked before it was kept."""
    return dag_of(dag_pb2.Dag.FromString(data), settings)


def _node(node: dag_pb2.DagNode, index: int, settings: OrchestrationSettings) -> Node:
    return Node(
        id=node.id,
        call=node.call,
        input=json_of(node.input, f"dag.nodes[{index}].input"),
        depends_on=tuple(dict.fromkeys(node.depends_on)),
        timeout=node.timeout.ToTimedelta() if node.HasField("timeout") else settings.node_timeout,
        retry=RetryRule(
            max_attempts=node.retry.max_attempts or settings.node_attempts,
            backoff=node.retry.backoff.ToTimedelta() if node.retry.HasField("backoff") else settings.node_backoff,
            codes=frozenset(code_pb2.Code.Name(code) for code in node.retry.codes),
        ),
    )


def run_message(record: RunRecord, state: runs.Run | None = None, *, outputs: bool = True, inputs: bool = False) -> run_pb2.Run:
    """A run as the contract shows it; without `state` its nodes and input are left out, as lists do."""
    message = run_pb2.Run(
        run_id=record.run_id,
        state=RUN_STATES[record.status],
        reason=record.reason,
        user_id=record.user_id,
        workflow_id=record.workflow_id,
        workflow_version=record.workflow_version,
        task_id=record.task_id,
        intent_id=record.intent_id,
        retry_of_run_id=record.retry_of,
    )
    message.create_time.FromDatetime(from_us(record.created_us))
    if record.ended_us is not None:
        message.end_time.FromDatetime(from_us(record.ended_us))
    if state is not None:
        message.input.CopyFrom(struct_of(json.loads(record.input)))
        message.nodes.extend(node_messages(state, outputs=outputs))
        for node, shown in zip(state.dag.nodes, message.nodes if inputs else (), strict=inputs):
            shown.input.CopyFrom(struct_of(node.input))
    return message


def fit(message: run_pb2.Run | pb.ExecuteDagResponse, limit: int) -> None:
    """Leaves out outputs, the largest first, until a message with the nodes of a run has no more than so many bytes."""
    size = message.ByteSize()
    for node in sorted(message.nodes, key=lambda node: node.output.ByteSize(), reverse=True):
        if size <= limit:
            return
        size -= node.output.ByteSize()
        node.ClearField("output")


def node_messages(state: runs.Run, *, outputs: bool = True) -> list[run_pb2.RunNode]:
    """The nodes of a run in the order of its DAG."""
    return [_node_message(node, state.nodes[node.id], sorted(state.dag.dependencies[node.id]), outputs) for node in state.dag.nodes]


def _node_message(node: Node, progress: runs.Progress, depends_on: list[str], outputs: bool) -> run_pb2.RunNode:
    message = run_pb2.RunNode(
        id=node.id, call=node.call, state=_NODE_STATES[progress.status], attempts=progress.starts, depends_on=depends_on
    )
    if outputs and progress.output is not None:
        message.output.CopyFrom(struct_of(progress.output))
    if progress.failure is not None:
        message.error.CopyFrom(error_message(progress.failure))
    if progress.start_time is not None:
        message.start_time.FromDatetime(progress.start_time)
    if progress.end_time is not None:
        message.end_time.FromDatetime(progress.end_time)
    return message


def error_message(failure: runs.Failure) -> run_pb2.NodeError:
    """Why an attempt failed, as the contract shows it."""
    return run_pb2.NodeError(code=failure.code, reason=failure.reason, message=failure.message)


def workflow_message(record: WorkflowRecord, *, dag: bool = True) -> workflow_pb2.Workflow:
    """A workflow as the contract shows it; lists leave the DAG out."""
    message = workflow_pb2.Workflow(
        workflow_id=record.workflow_id, version=record.version, description=record.description, node_count=record.node_count
    )
    message.create_time.FromDatetime(from_us(record.created_us))
    if dag:
        message.dag.ParseFromString(record.dag)
    return message


def schedule_of(message: task_pb2.Schedule, created_us: int) -> Schedule:
    """The domain's schedule."""
    kind = message.WhichOneof("kind")
    if kind == "at":
        return Once(message.at.ToDatetime(tzinfo=UTC))
    if kind == "every":
        return Every(_whole_microseconds(message.every.ToTimedelta()), from_us(created_us))
    return Cron(message.cron, message.time_zone)


def upcoming_fires(record: TaskRecord, count: int) -> list[datetime]:
    """The next fire time of a task and those that follow it, `count` in all."""
    if not count or record.next_fire_us is None:
        return []
    first = from_us(record.next_fire_us)
    following = fires(schedule_of(task_pb2.Schedule.FromString(record.schedule), record.created_us), first)
    try:
        return [first, *islice(following, count - 1)]
    except InvalidSchedule:
        # its time zone is gone: the scheduler pauses it when its time comes, and until then it can be listed
        return [first]


def _whole_microseconds(interval: timedelta) -> timedelta:
    return max(interval, timedelta(microseconds=1))


def refusal_of(error: InvalidSchedule) -> errors.Refusal:
    """The refusal for a schedule that cannot fire."""
    return errors.invalid(f"schedule.{error.field}", str(error), reason=ErrorReason.ERROR_REASON_INVALID_SCHEDULE)


def task_message(record: TaskRecord, *, whole: bool = True, upcoming: int = 0) -> task_pb2.Task:
    """A task as the contract shows it, with so many of its next fire times; lists leave DAG and input out."""
    message = task_pb2.Task(
        task_id=record.task_id,
        name=record.name,
        state=TASK_STATES[record.status],
        schedule=task_pb2.Schedule.FromString(record.schedule),
        workflow_id=record.workflow_id,
        user_id=record.user_id,
        last_run_id=record.last_run_id,
        last_problem=record.last_problem,
        fire_count=record.fire_count,
        missed_count=record.missed_count,
    )
    message.create_time.FromDatetime(from_us(record.created_us))
    if record.next_fire_us is not None and record.status == "active":
        message.next_fire_time.FromDatetime(from_us(record.next_fire_us))
        for moment in upcoming_fires(record, upcoming):
            message.upcoming_fire_times.add().FromDatetime(moment)
    if record.last_fire_us is not None:
        message.last_fire_time.FromDatetime(from_us(record.last_fire_us))
    if whole:
        message.input.CopyFrom(struct_of(json.loads(record.input)))
        if record.dag is not None:
            message.dag.ParseFromString(record.dag)
    return message
