"""What the store keeps, as plain values: runs, tasks, workflows, bindings, and the text form of a run's facts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.orchestration import run as runs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: what it sees as ${input}, for whom it runs, and the task or intent that started it."""

    input: Mapping[str, Any]
    user_id: str = ""
    task_id: str = ""
    intent_id: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A run without what happened in it. `dag` is a serialized tooloo.orchestration.v1.Dag, `input` the JSON of ${input}."""

    run_id: str
    dag: bytes
    created_us: int
    input: str = "{}"
    user_id: str = ""
    workflow_id: str = ""
    workflow_version: int = 0
    task_id: str = ""
    intent_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""
    status: str = runs.RunStatus.RUNNING.value
    reason: str = ""
    ended_us: int | None = None
    retry_of: str = ""


@dataclass(frozen=True)
class WorkflowRecord:
    """One version of a workflow. `dag` is a serialized tooloo.orchestration.v1.Dag."""

    workflow_id: str
    version: int
    description: str
    dag: bytes
    node_count: int
    created_us: int


@dataclass(frozen=True)
class Binding:
    """An intent that starts a workflow."""

    intent: str
    workflow_id: str
    min_confidence: float


@dataclass(frozen=True)
class TaskRecord:
    """A task; `status` is active, paused or done. `schedule` and `dag` are serialized messages; no `dag` with a workflow."""

    task_id: str
    name: str
    status: str
    schedule: bytes
    dag: bytes | None
    workflow_id: str
    input: str
    user_id: str
    created_us: int
    next_fire_us: int | None
    last_fire_us: int | None = None
    last_run_id: str = ""
    last_problem: str = ""
    fire_count: int = 0
    missed_count: int = 0


_KINDS: Mapping[str, type[runs.Fact]] = {
    "node_started": runs.NodeStarted,
    "node_succeeded": runs.NodeSucceeded,
    "attempt_failed": runs.AttemptFailed,
    "node_failed": runs.NodeFailed,
    "run_cancelled": runs.RunCancelled,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_TIMES = ("time", "retry_at")


def fact_to_text(fact: runs.Fact) -> str:
    """A fact as JSON: its kind and its fields, times as microseconds since the epoch."""
    fields = {name: _plain(value) for name, value in asdict(fact).items()}
    return json.dumps({"kind": _NAMES[type(fact)], **fields}, separators=(",", ":"))


def _plain(value: Any) -> Any:
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value


def fact_from_text(text: str) -> runs.Fact:
    """The fact of fact_to_text()'s JSON."""
    fields = json.loads(text)
    kind = _KINDS[fields.pop("kind")]
    for name in _TIMES:
        if name in fields:
            fields[name] = _EPOCH + timedelta(microseconds=fields[name])
    if "failure" in fields:
        fields["failure"] = runs.Failure(**fields["failure"])
    return kind(**fields)


def input_of_fire(task: TaskRecord, fire: datetime) -> dict[str, Any]:
    """What a run that a task starts sees as ${input}: the task's input, with taskId and fireTime."""
    return {**json.loads(task.input), "taskId": task.task_id, "fireTime": fire.isoformat().replace("+00:00", "Z")}
