"""Starts runs: the record, its event and the waking of the engine, for callers, tasks and intents alike."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from mesh import call, errors
from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.orchestration import events, store, workflow_store
from services.orchestration.records import Origin, RunRecord, WorkflowRecord
from services.orchestration.run import Fact, RunStatus
from services.orchestration.settings import OrchestrationSettings


class Starter:
    """Puts runs into the store; `wake` tells the engine when they are there."""

    def __init__(self, host: Host, settings: OrchestrationSettings, wake: Callable[[], None]) -> None:
        self._host = host
        self._settings = settings
        self._wake = wake

    async def start_dag(self, tx: Transaction, dag: bytes, node_count: int, origin: Origin) -> str:
        """Starts a run of a checked DAG; gives its id. RESOURCE_EXHAUSTED when too many runs are unfinished."""
        return await self._start(tx, dag, node_count, origin, WorkflowRecord("", 0, "", b"", 0, 0))

    async def start_workflow(self, tx: Transaction, workflow_id: str, origin: Origin) -> str:
        """Starts a run of a workflow in its newest version; gives its id. NOT_FOUND when there is no such workflow."""
        workflow = await workflow_store.find_workflow(tx, workflow_id)
        if workflow is None:
            raise errors.not_found("workflow", workflow_id)
        return await self._start(tx, workflow.dag, workflow.node_count, origin, workflow)

    async def retry(self, tx: Transaction, old: RunRecord, node_count: int, facts: Sequence[Fact]) -> RunRecord:
        """Starts a run like an old one that begins with these facts; gives it. RESOURCE_EXHAUSTED likewise."""
        current = call.current.get()
        record = replace(
            old,
            run_id=self._host.ids(),
            created_us=to_us(self._host.clock.now()),
            correlation_id=current.correlation_id,
            traceparent=current.traceparent,
            status=RunStatus.RUNNING.value,
            reason="",
            ended_us=None,
            retry_of=old.run_id,
        )
        await self._insert(tx, record, node_count, facts)
        return record

    async def _start(self, tx: Transaction, dag: bytes, node_count: int, origin: Origin, workflow: WorkflowRecord) -> str:
        current = call.current.get()
        record = RunRecord(
            run_id=self._host.ids(),
            dag=dag,
            created_us=to_us(self._host.clock.now()),
            input=json.dumps(origin.input),
            user_id=origin.user_id,
            workflow_id=workflow.workflow_id,
            workflow_version=workflow.version,
            task_id=origin.task_id,
            intent_id=origin.intent_id,
            correlation_id=current.correlation_id,
            traceparent=current.traceparent,
        )
        await self._insert(tx, record, node_count)
        return record.run_id

    async def _insert(self, tx: Transaction, record: RunRecord, node_count: int, facts: Sequence[Fact] = ()) -> None:
        limit = self._settings.unfinished_runs
        if await store.count_unfinished_runs(tx) >= limit:
            raise errors.exhausted(self._settings.env_name("unfinished_runs"), f"{limit} runs are unfinished; cancel some or wait")
        await store.insert_run(tx, record)
        await store.append_facts(tx, record.run_id, 0, facts)
        await self._host.tell(tx, events.dag_started(record, node_count))
        tx.after_commit(self._wake)
