"""The life of a run, as a fold over what happened: which nodes may start, which are skipped, when it has ended and how.

Event sourcing: a run's state is never stored, only the facts; the same facts give the same state, before and after a crash.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any

from services.orchestration.dag import Dag


class NodeStatus(Enum):
    """How far a node is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class RunStatus(Enum):
    """How far a run is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: name of the gRPC code, reason of the ErrorInfo, message."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True)
class NodeStarted:
    """An attempt begins. Also after a crash, for an attempt whose end was never noted."""

    node: str
    time: datetime


@dataclass(frozen=True)
class NodeSucceeded:
    """The call was answered; `output` is the answer as JSON."""

    node: str
    time: datetime
    output: Mapping[str, Any]


@dataclass(frozen=True)
class AttemptFailed:
    """The call was refused and is tried again at `retry_at`."""

    node: str
    time: datetime
    failure: Failure
    retry_at: datetime


@dataclass(frozen=True)
class NodeFailed:
    """The node failed for good; everything that waits for it is skipped."""

    node: str
    time: datetime
    failure: Failure


@dataclass(frozen=True)
class RunCancelled:
    """The run was ended from outside."""

    time: datetime
    reason: str


NodeFact = NodeStarted | NodeSucceeded | AttemptFailed | NodeFailed
Fact = NodeFact | RunCancelled


class IllegalFact(RuntimeError):
    """A fact that cannot follow on what happened before: two owners of one run, or a defect."""


@dataclass(frozen=True)
class Progress:
    """Where a node stands. `starts` counts attempts begun, `failures` those that were refused."""

    status: NodeStatus = NodeStatus.PENDING
    starts: int = 0
    failures: int = 0
    output: Mapping[str, Any] | None = None
    failure: Failure | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    retry_at: datetime | None = None


_TERMINAL = frozenset({NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.SKIPPED, NodeStatus.CANCELLED})


@dataclass(frozen=True)
class Run:
    """A DAG and where each of its nodes stands."""

    dag: Dag
    nodes: Mapping[str, Progress]
    cancel_reason: str | None = None
    cancelled: bool = field(default=False)

    @property
    def status(self) -> RunStatus:
        """How far the run is."""
        if self.cancelled:
            return RunStatus.CANCELLED
        statuses = {progress.status for progress in self.nodes.values()}
        if not statuses <= _TERMINAL:
            return RunStatus.RUNNING
        return RunStatus.SUCCEEDED if statuses <= {NodeStatus.SUCCEEDED} else RunStatus.FAILED

    @property
    def ended(self) -> bool:
        """True when nothing will happen any more."""
        return self.status is not RunStatus.RUNNING

    @property
    def reason(self) -> str:
        """Why it did not succeed: the first failure in the order of the DAG; "" otherwise."""
        if self.cancelled:
            return self.cancel_reason or "cancelled"
        for node in self.dag.nodes:
            failure = self.nodes[node.id].failure
            if self.nodes[node.id].status is NodeStatus.FAILED and failure:
                return f"node {node.id} failed: {failure.code} {failure.message}"
        return ""


def begin(dag: Dag) -> Run:
    """A run of which nothing has happened yet."""
    return Run(dag, MappingProxyType({node.id: Progress() for node in dag.nodes}))


def replay(dag: Dag, facts: Iterable[Fact]) -> Run:
    """The state after the facts, in their order."""
    state = begin(dag)
    for fact in facts:
        state = apply(state, fact)
    return state


def apply(run: Run, fact: Fact) -> Run:
    """The state after one more fact; IllegalFact when it cannot follow."""
    if run.ended:
        raise IllegalFact(f"{fact} after the end of the run")
    if isinstance(fact, RunCancelled):
        return _cancel(run, fact)
    progress = run.nodes[fact.node]
    if isinstance(fact, NodeStarted):
        return _with(run, {fact.node: _started(run, progress, fact)})
    if progress.status is not NodeStatus.RUNNING:
        raise IllegalFact(f"{fact} of a node that is {progress.status.value}")
    if isinstance(fact, NodeSucceeded):
        done = replace(progress, status=NodeStatus.SUCCEEDED, output=fact.output, failure=None, end_time=fact.time)
        return _with(run, {fact.node: done})
    if isinstance(fact, AttemptFailed):
        again = replace(
            progress, status=NodeStatus.PENDING, failures=progress.failures + 1, failure=fact.failure, retry_at=fact.retry_at
        )
        return _with(run, {fact.node: again})
    return _fail(run, fact)


def _with(run: Run, changed: Mapping[str, Progress]) -> Run:
    return replace(run, nodes=MappingProxyType({**run.nodes, **changed}))


def _started(run: Run, progress: Progress, fact: NodeStarted) -> Progress:
    if progress.status not in (NodeStatus.PENDING, NodeStatus.RUNNING) or not _unblocked(run, fact.node):
        raise IllegalFact(f"{fact} of a node that is {progress.status.value}")
    return replace(
        progress, status=NodeStatus.RUNNING, starts=progress.starts + 1, start_time=progress.start_time or fact.time, retry_at=None
    )


def _fail(run: Run, fact: NodeFailed) -> Run:
    progress = run.nodes[fact.node]
    failed = replace(progress, status=NodeStatus.FAILED, failures=progress.failures + 1, failure=fact.failure, end_time=fact.time)
    skipped = {name: replace(run.nodes[name], status=NodeStatus.SKIPPED, end_time=fact.time) for name in skipped_by(run, fact.node)}
    return _with(run, {fact.node: failed, **skipped})


def _cancel(run: Run, fact: RunCancelled) -> Run:
    left = {
        name: replace(progress, status=NodeStatus.CANCELLED, end_time=fact.time, retry_at=None)
        for name, progress in run.nodes.items()
        if progress.status not in _TERMINAL
    }
    return replace(_with(run, left), cancelled=True, cancel_reason=fact.reason)


def skipped_by(run: Run, node: str) -> list[str]:
    """Nodes that are skipped when this one fails and were not skipped before, in the order of the DAG."""
    waiting = run.dag.dependents[node]
    return [other.id for other in run.dag.nodes if other.id in waiting and run.nodes[other.id].status is NodeStatus.PENDING]


def _unblocked(run: Run, node: str) -> bool:
    return all(run.nodes[name].status is NodeStatus.SUCCEEDED for name in run.dag.dependencies[node])


def ready(run: Run, now: datetime, longest: timedelta = timedelta.max) -> list[str]:
    """Nodes that may start now, in the order of the DAG. No retry waits longer than `longest`, also when the clock was set back."""
    if run.ended:
        return []
    return [node.id for node in run.dag.nodes if _waits(run, node.id) and _due(run.nodes[node.id].retry_at, now, longest)]


def _due(retry_at: datetime | None, now: datetime, longest: timedelta) -> bool:
    return retry_at is None or retry_at <= now or retry_at - now > longest


def next_retry(run: Run) -> datetime | None:
    """When the next attempt of a refused node is due, or None."""
    times = [progress.retry_at for name, progress in run.nodes.items() if progress.retry_at and _waits(run, name)]
    return min(times, default=None)


def _waits(run: Run, node: str) -> bool:
    return run.nodes[node].status is NodeStatus.PENDING and _unblocked(run, node)


def interrupted(run: Run) -> list[str]:
    """Nodes whose attempt was begun and whose end is not known: after a crash these are made again."""
    return [node.id for node in run.dag.nodes if run.nodes[node.id].status is NodeStatus.RUNNING]


def outputs(run: Run) -> dict[str, dict[str, Any]]:
    """What references see as ${nodes}: the answers so far."""
    return {name: {"output": progress.output} for name, progress in run.nodes.items() if progress.status is NodeStatus.SUCCEEDED}


def counts(run: Run) -> dict[NodeStatus, int]:
    """How many nodes there are of each status."""
    found = dict.fromkeys(NodeStatus, 0)
    for progress in run.nodes.values():
        found[progress.status] += 1
    return found


def kept_by_retry(run: Run, node: str = "") -> frozenset[str]:
    """Nodes that a retry does not run again: those that succeeded, without `node` and whatever depends on it."""
    succeeded = {name for name, progress in run.nodes.items() if progress.status is NodeStatus.SUCCEEDED}
    again = {node, *run.dag.dependents[node]} if node else set()
    return frozenset(succeeded - again)


def facts_to_keep(run: Run, kept: frozenset[str]) -> list[Fact]:
    """What a retry begins with: that the kept nodes ran and succeeded, when they did; none comes before one that it depends on."""
    facts: list[Fact] = []
    # not by their times: the clock may have been set back between two of them
    for name in filter(kept.__contains__, run.dag.order):
        progress = run.nodes[name]
        if progress.start_time is None or progress.end_time is None or progress.output is None:
            raise AssertionError(f"node {name} succeeded without a time or an output")
        facts += [NodeStarted(name, progress.start_time), NodeSucceeded(name, progress.end_time, progress.output)]
    return facts
