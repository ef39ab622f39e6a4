"""Runs: execute a DAG, get, list, cancel, retry, watch."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import run_pb2

from mesh import errors
from mesh.clock import to_us
from mesh.db import Transaction
from services.orchestration import run as runs
from services.orchestration import store, wire
from services.orchestration.flows.base import Calls, Context, page_of, shown_of
from services.orchestration.records import Origin, RunRecord
from services.orchestration.workers.changes import wait
from services.orchestration.workers.driver import end_run

# the answer must be on its way before the caller's deadline
_ANSWER_S = 0.25
# more than the field of an answer that holds a run costs
_AROUND_BYTES = 64


class RunCalls(Calls):
    """ExecuteDag, GetRun, ListRuns, CancelRun, RetryRun, WatchRun."""

    async def ExecuteDag(self, request: pb.ExecuteDagRequest, context: Context) -> pb.ExecuteDagResponse:
        """Starts a run and waits for its end as long as the caller wants to."""
        self._check_target(request.dag, request.HasField("dag"), request.workflow_id)
        origin = Origin(self._input_of(request.input), request.user_id)

        async def effect(tx: Transaction) -> pb.ExecuteDagResponse:
            if request.workflow_id:
                run_id = await self._parts.starter.start_workflow(tx, request.workflow_id, origin)
            else:
                run_id = await self._parts.starter.start_dag(tx, request.dag.SerializeToString(), len(request.dag.nodes), origin)
            return pb.ExecuteDagResponse(run_id=run_id)

        answer = await self._host.once(request, pb.ExecuteDagResponse, effect)
        record, state = await self._wait_for_end(answer.run_id, _time_to_wait(request.wait.ToTimedelta(), context))
        ended = pb.ExecuteDagResponse(
            run_id=answer.run_id, state=wire.RUN_STATES[record.status], nodes=wire.node_messages(state), reason=record.reason
        )
        wire.fit(ended, self._room())
        return ended

    def _room(self) -> int:
        """How large a run may be in an answer: as a message, less what is around it."""
        return self._host.settings.max_message_bytes - _AROUND_BYTES

    def _shown(self, record: RunRecord, state: runs.Run, *, inputs: bool = False) -> run_pb2.Run:
        run = wire.run_message(record, state, inputs=inputs)
        wire.fit(run, self._room())
        return run

    async def _wait_for_end(self, run_id: str, seconds: float) -> tuple[RunRecord, runs.Run]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._parts.changes.watch(run_id) as changed:
            while True:
                changed.clear()
                record, state = await self._load(run_id)
                left = deadline - loop.time()
                if state.ended or left <= 0:
                    return record, state
                await wait(changed, min(left, self._settings.poll_interval.total_seconds()))

    async def _load(self, run_id: str) -> tuple[RunRecord, runs.Run]:
        return await self._host.db.read(lambda tx: self._load_in(tx, run_id))

    async def _load_in(self, tx: Transaction, run_id: str) -> tuple[RunRecord, runs.Run]:
        record = await store.find_run(tx, run_id)
        if record is None:
            raise errors.not_found("run", run_id)
        return record, runs.replay(wire.stored_dag(record.dag, self._settings), await store.facts_of(tx, run_id))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """Gets a run with its nodes."""
        record, state = await self._load(request.run_id)
        return pb.GetRunResponse(run=self._shown(record, state, inputs=True))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """Lists runs, newest first."""
        page = page_of(request, request.page_size, request.page_token)
        found = await self._host.db.read(
            lambda tx: store.list_runs(
                tx,
                page,
                status=wire.name_of(wire.RUN_STATES, request.state),
                user_id=request.user_id,
                workflow_id=request.workflow_id,
                task_id=request.task_id,
                intent_id=request.intent_id,
            )
        )
        shown, token = shown_of(request, found, page, lambda run: (run.created_us, run.run_id))
        return pb.ListRunsResponse(runs=[wire.run_message(record) for record in shown], next_page_token=token)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Ends a run; whoever drives it cannot note anything any more."""

        async def effect(tx: Transaction) -> pb.CancelRunResponse:
            record, state = await self._load_in(tx, request.run_id)
            if state.ended:
                raise errors.failed_precondition(f"runs/{record.run_id}", f"the run has ended already: {record.status}")
            fact = runs.RunCancelled(self._host.clock.now(), request.reason or "cancelled by a caller")
            after = runs.apply(state, fact)
            await store.append_facts(tx, record.run_id, await store.count_facts(tx, record.run_id), [fact])
            await end_run(tx, self._host, record, after)
            tx.after_commit(lambda: self._ended_from_outside(record.run_id))
            return pb.CancelRunResponse(run=self._shown((await self._load_in(tx, record.run_id))[0], after))

        return await self._host.once(request, pb.CancelRunResponse, effect)

    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        """Runs what an ended run did not finish, as a new run."""

        async def effect(tx: Transaction) -> pb.RetryRunResponse:
            record, state = await self._load_in(tx, request.run_id)
            if request.node_id and request.node_id not in state.nodes:
                raise errors.invalid("node_id", f"the run has no node {request.node_id!r}; it has {', '.join(state.nodes)}")
            if not state.ended:
                raise errors.failed_precondition(f"runs/{record.run_id}", "the run is still running; wait for its end or cancel it")
            kept = runs.kept_by_retry(state, request.node_id)
            if len(kept) == len(state.nodes):
                raise errors.failed_precondition(f"runs/{record.run_id}", "every node succeeded; name the node to run again from")
            started = await self._parts.starter.retry(tx, record, len(state.nodes), runs.facts_to_keep(state, kept))
            return pb.RetryRunResponse(run=self._shown(started, (await self._load_in(tx, started.run_id))[1]))

        return await self._host.once(request, pb.RetryRunResponse, effect)

    def _ended_from_outside(self, run_id: str) -> None:
        self._parts.engine.give_up(run_id)
        self._parts.changes.notify(run_id)

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncIterator[pb.WatchRunResponse]:
        """Follows a run to its end."""
        silence = (
            request.heartbeat.ToTimedelta() if request.HasField("heartbeat") else self._settings.watch_heartbeat
        ).total_seconds()
        poll = self._settings.poll_interval.total_seconds()
        loop = asyncio.get_running_loop()
        seen, sent_at = -1, loop.time()
        with self._parts.changes.watch(request.run_id) as changed:
            while True:
                changed.clear()
                record, state, facts = await self._host.db.read(lambda tx: self._snapshot(tx, request.run_id))
                if facts != seen:
                    yield self._watched(wire.run_message(record, state, outputs=False), final=state.ended)
                    seen, sent_at = facts, loop.time()
                elif loop.time() - sent_at >= silence:
                    yield self._watched(None, final=False)
                    sent_at = loop.time()
                if state.ended:
                    return
                await wait(changed, min(poll, sent_at + silence - loop.time()))

    async def _snapshot(self, tx: Transaction, run_id: str) -> tuple[RunRecord, runs.Run, int]:
        record, state = await self._load_in(tx, run_id)
        return record, state, await store.count_facts(tx, run_id)

    def _watched(self, run: run_pb2.Run | None, *, final: bool) -> pb.WatchRunResponse:
        message = pb.WatchRunResponse(run=run, final=final)
        message.time.FromMicroseconds(to_us(self._host.clock.now()))
        return message


def _time_to_wait(wanted: timedelta, context: Context) -> float:
    """Seconds to wait: what the caller wants, but not past its own deadline."""
    remaining: float | None = context.time_remaining()
    seconds = wanted.total_seconds()
    return seconds if remaining is None else max(0.0, min(seconds, remaining - _ANSWER_S))
