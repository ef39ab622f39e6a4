"""The runs of this process: one at a time for a repository, so many at a time in all, each going on when its caller goes away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tooloo.context.v1.context_service_pb2 import AnalyzeContextRequest, AnalyzeContextResponse, IndexRepositoryRequest
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.answers import request_id_of
from mesh.clock import MICROSECOND, to_us
from mesh.db import Transaction
from mesh.host import Host
from services.context import events, store, store_queries, store_runs, wire
from services.context.flows.indexing import Outcome, RootGone, RootReplaced, Run, RunLost, TreeTooLarge
from services.context.freshness import look
from services.context.progress import Meter, Phase, Progress
from services.context.settings import ContextSettings
from services.context.store import Repository
from services.context.workers.pool import NoWorkers, Pool
from services.context.workers.pools import Pools

log = logging.getLogger(__name__)
_WHEN_BUSY = timedelta(seconds=5)
# a setting of nothing must not become a loop without a pause
_SHORTEST_INTERVAL = 0.01
_NOTHING_READ = frozenset({Phase.WAITING, Phase.COUNTING})
# times that a run shows that it is alive before it would be taken for dead
_SIGNS_PER_LEASE = 3
# how often it is looked whether another process's run has ended
_LOOK_AGAIN_S = 0.2
Request = AnalyzeContextRequest | IndexRepositoryRequest
Answer = asyncio.Task[AnalyzeContextResponse]


@dataclass(frozen=True)
class _Underway:
    """What watchers see of a run; `begun` is set when it may write, or has failed to get so far."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    meter: Meter = field(default_factory=Meter)


@dataclass
class _Running:
    """A run and who began it; `following` begins when it has ended, for those who came when it had begun to read."""

    root: Path
    task: Answer
    underway: _Underway
    started: float
    request_id: str
    following: "_Running | None" = None

    def holds_for(self, request_id: str) -> bool:
        """True when its answer is right for a call that comes now: whatever was written before will be read."""
        return self.underway.meter.now.phase in _NOTHING_READ or bool(request_id and request_id == self.request_id)


@dataclass(frozen=True)
class Watched:
    """What a watcher is told: how far the run is, since so many seconds; at the end its answer or why there is none."""

    progress: Progress
    seconds: float
    answer: AnalyzeContextResponse | None = None
    error: errors.Refusal | None = None


class Runs:
    """Starts runs and joins callers to those that are on their way and have read nothing yet; for whoever comes later one follows.

    `owner` names this process among those on one store; `after_run` is called when a run has ended.
    """

    def __init__(self, host: Host, settings: ContextSettings, owner: str, after_run: Callable[[], None]) -> None:
        self._host = host
        self._settings = settings
        self._owner = owner
        self.after_run = after_run
        self._pools = Pools(
            lambda: Pool(settings.workers, settings.parse_timeout, settings.worker_memory_bytes), settings.worker_idle
        )
        self._running: dict[str, _Running] = {}

    async def close(self) -> None:
        """Ends all runs; what is shown stays as it is."""
        tasks = [each.task for running in self._running.values() for each in (running.following, running) if each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pools.close()

    async def analyze(self, request: Request, repo_id: str, root: Path) -> AnalyzeContextResponse:
        """Indexes a tree, or waits for a run that does so anyway; a caller that goes away does not end it."""
        running, joined = self._take(request, repo_id, root)
        return await (self._joined(request, running) if joined else asyncio.shield(running.task))

    async def watch(self, request: Request, repo_id: str, root: Path, silence: float) -> AsyncIterator[Watched]:
        """The same, telling how far the run is, at least every so many seconds; what refuses it before it has begun is raised."""
        running, joined = self._take(request, repo_id, root)
        underway, interval = running.underway, max(self._settings.progress_interval.total_seconds(), _SHORTEST_INTERVAL)
        await underway.begun.wait()
        told, told_at = None, 0.0
        while not running.task.done():
            now = self._host.clock.monotonic()
            if underway.meter.now != told or now - told_at >= silence:
                told, told_at = underway.meter.now, now
                yield Watched(told, now - running.started)
            await asyncio.wait({running.task}, timeout=min(interval, silence))
        yield await self._last(request, running, joined=joined)

    def _take(self, request: Request, repo_id: str, root: Path) -> tuple[_Running, bool]:
        """The run whose answer this call gets, and whether another call began it."""
        running, request_id = self._running.get(repo_id), request_id_of(request)
        if running is None:
            return self._start(request, repo_id, root), False
        if running.root != root:
            raise _other_root(repo_id, str(running.root))
        if running.holds_for(request_id):
            return running, True
        if running.following is None:
            running.following = self._begin(request, repo_id, root, _Underway(meter=Meter(Phase.WAITING)), after=running.task)
            return running.following, False
        return running.following, True

    async def _last(self, request: Request, running: _Running, *, joined: bool) -> Watched:
        progress, seconds = running.underway.meter.now, self._host.clock.monotonic() - running.started
        try:
            answer = await (self._joined(request, running) if joined else running.task)
        except errors.Refusal as error:
            return Watched(progress, seconds, error=error)
        return Watched(progress, seconds, answer)

    async def _joined(self, request: Request, running: _Running) -> AnalyzeContextResponse:
        """The answer of a run that another caller began, kept under the request_id of this one too."""
        answer = await asyncio.shield(running.task)

        async def same(_: Transaction) -> AnalyzeContextResponse:
            return answer

        return await self._host.once(request, AnalyzeContextResponse, same)

    def _start(self, request: Request, repo_id: str, root: Path) -> _Running:
        if len(self._running) >= self._settings.max_runs:
            name = ContextSettings.env_name("max_runs")
            raise errors.exhausted(name, f"{self._settings.max_runs} trees are being indexed; try again", retry_after=_WHEN_BUSY)
        running = self._running[repo_id] = self._begin(request, repo_id, root, _Underway())
        return running

    def _begin(self, request: Request, repo_id: str, root: Path, underway: _Underway, after: Answer | None = None) -> _Running:
        task = asyncio.create_task(self._run(request, repo_id, root, underway, after), name=f"index {repo_id}")
        running = _Running(root, task, underway, self._host.clock.monotonic(), request_id_of(request))
        task.add_done_callback(lambda _: self._ended(repo_id, running))
        return running

    def _ended(self, repo_id: str, running: _Running) -> None:
        task = running.task
        running.underway.begun.set()
        if self._running[repo_id] is running:
            del self._running[repo_id]
            if running.following:
                self._running[repo_id] = running.following
        self.after_run()
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, errors.Refusal):
            log.error("indexing %s failed", repo_id, exc_info=error)

    async def _run(
        self, request: Request, repo_id: str, root: Path, underway: _Underway, after: Answer | None
    ) -> AnalyzeContextResponse:
        await self._wait_for_others(repo_id, underway, after)
        run_id, started = self._host.ids(), self._host.clock.monotonic()

        async def begin(tx: Transaction) -> Repository:
            before = await store_queries.shown_repository(tx, repo_id)
            if before and before.root != str(root):
                raise _other_root(repo_id, before.root)
            return await store_runs.begin_run(tx, repo_id, str(root), run_id, self._owner, self._alive_until())

        at = await self._host.db.write(begin)
        underway.begun.set()
        alive = asyncio.create_task(self._show_life(repo_id, run_id))
        try:
            async with self._pools.lent() as pool:
                run = Run(self._host, self._settings, at, root, run_id, pool, underway.meter)
                outcome = await run.execute()
                underway.meter.enter(Phase.PUBLISHING)
            return await self._publish(request, run, at, outcome, started)
        except TreeTooLarge as error:
            name = ContextSettings.env_name(error.setting)
            raise errors.exhausted(name, f"{error}; index a part of it or raise {name}") from error
        except RunLost as error:
            left = await self._host.db.read(lambda tx: store.find_repository(tx, repo_id))
            why = "another run of the same repository has begun; its answer stands" if left else "its index was deleted meanwhile"
            raise errors.aborted(why, repo_id=repo_id) from error
        except RootReplaced as error:
            raise errors.aborted("another folder took its place while it was indexed; index it again", root=str(root)) from error
        except RootGone as error:
            raise not_allowed() from error
        except NoWorkers as error:
            detail = "its process ends at once or cannot be started; the index before stays"
            raise errors.unavailable("the parser", retry_after=_WHEN_BUSY, detail=detail) from error
        finally:
            alive.cancel()
            await self._host.db.write(lambda tx: store_runs.end_run(tx, repo_id, run_id))

    async def _wait_for_others(self, repo_id: str, underway: _Underway, after: Answer | None) -> None:
        """Until the run before has ended, and whichever another process has begun: that one would be lost."""
        if after:
            underway.begun.set()
            await asyncio.wait({after})
        while await self._host.db.read(lambda tx: store_runs.is_indexed_now(tx, repo_id, *self._now_and_lease())):
            underway.meter.enter(Phase.WAITING)
            underway.begun.set()
            await asyncio.sleep(_LOOK_AGAIN_S)
        underway.meter.enter(Phase.COUNTING)

    def _now_and_lease(self) -> tuple[int, int]:
        return to_us(self._host.clock.now()), self._settings.run_lease // MICROSECOND

    def _alive_until(self) -> int:
        return to_us(self._host.clock.now() + self._settings.run_lease)

    async def _show_life(self, repo_id: str, run_id: str) -> None:
        """Lets other processes know that the run is under way, until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.run_lease.total_seconds() / _SIGNS_PER_LEASE)
            try:
                await self._host.db.write(lambda tx: store_runs.renew_run(tx, repo_id, run_id, self._alive_until()))
            except errors.Refusal as refusal:
                log.warning("the run of %s is not shown to be alive: %s", repo_id, refusal)

    async def _publish(
        self, request: Request, run: Run, at: Repository, outcome: Outcome, started: float
    ) -> AnalyzeContextResponse:
        duration_us = round((self._host.clock.monotonic() - started) * 1_000_000)
        sight = await asyncio.to_thread(look, at.root)

        async def effect(tx: Transaction) -> AnalyzeContextResponse:
            now_us = to_us(self._host.clock.now())
            await store_queries.publish(
                tx, at, outcome.generation, outcome.resolved_imports, outcome.skipped, outcome.commit, now_us, duration_us
            )
            shown = await store_queries.shown_repository(tx, at.repo_id)
            if shown is None:
                raise RunLost
            languages = await store_queries.language_totals(tx, shown)
            await self._host.tell(tx, events.indexed(shown, languages, outcome.tally))
            return AnalyzeContextResponse(
                repository=wire.repository(shown, languages, sight),
                added_files=outcome.tally.added,
                changed_files=outcome.tally.changed,
                unchanged_files=outcome.tally.unchanged,
                deleted_files=outcome.tally.deleted,
            )

        return await self._host.once(request, AnalyzeContextResponse, lambda tx: run.guarded(tx, effect))


def not_allowed() -> errors.Refusal:
    """The refusal of a path; the same whether it does not exist or may not be seen."""
    name = ContextSettings.env_name("roots")
    return errors.invalid(
        "path",
        f"must be a readable folder of this machine inside one of {name}",
        reason=ErrorReason.ERROR_REASON_PATH_NOT_ALLOWED,
    )


def _other_root(repo_id: str, root: str) -> errors.Refusal:
    return errors.already_exists(
        "repository", repo_id, f"it is the index of {root}; give another repoId, or delete that index first"
    )
