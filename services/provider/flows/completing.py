"""Answering a conversation: a query is opened, its attempts are made one after the other, and it is settled whatever happens.

Between the two transactions nothing is kept in this process that another one would need: when it dies, its queries are given up and
told as soon as another process sees that it is gone (flows/orphans.py), and the next call finds budgets, breakers and sessions as
they are.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from mesh.errors import Refusal
from mesh.host import Host
from services.provider import attempts, completion_wire
from services.provider.assembling import pieces
from services.provider.attempts import GiveUp, Wait
from services.provider.chat import Delta, Deltas
from services.provider.completing_port import Ask, Completed, QueryFailedError, Started
from services.provider.failure import CallFailedError, Failure, FailureKind
from services.provider.flows import batches, reserving, rules
from services.provider.flows.advising import Advisor
from services.provider.flows.keyring import Keyring
from services.provider.flows.known import Known
from services.provider.flows.opening import Opened, Opening
from services.provider.flows.running import Running, is_away
from services.provider.flows.targets import target_of
from services.provider.query import Query
from services.provider.remote.calling import Remote
from services.provider.target import Target
from services.provider.texts import Texts

log = logging.getLogger(__name__)
Event = Started | Deltas | Completed
# between two tries to settle while the store is away
_AGAIN_SECONDS = 0.25
# an answer that is kept for a repeat, vectors above all, may be larger than what the loop should write by itself
_BRIEF_BYTES = 64 * 1024
T = TypeVar("T")


class Completing:
    """Completes conversations; `close` waits for what is still to be settled."""

    def __init__(self, host: Host, known: Known, keyring: Keyring, advisor: Advisor, remote: Remote, owner_id: str) -> None:
        self._host, self._known, self._remote = host, known, remote
        self._opening = Opening(host, known, keyring, advisor, owner_id)
        self._retries = rules.retry_budget(known.settings)
        longest = known.settings.query_timeout
        # by whether long may be heard nothing
        self._limits = {silent: rules.limits(known.settings, longest, silent=silent) for silent in (True, False)}
        # settlements of callers who hung up
        self._ending: set[asyncio.Task[Query]] = set()

    async def complete(self, ask: Ask) -> Completed:
        """The whole answer; QueryFailedError when no model could give one, a Refusal when it may not be asked for."""
        async with aclosing(self._answer(ask)) as events:
            async for event in events:
                if isinstance(event, Completed):
                    return event
        raise RuntimeError("a query ends with an answer or an error")

    def stream(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """Started, the pieces, Completed. Closing it early ends the call to the provider and settles what came."""
        return self._answer(ask)

    async def close(self) -> None:
        """Waits until everything is settled."""
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)

    async def _answer(self, ask: Ask) -> AsyncGenerator[Event, None]:
        deadline = self._deadline(ask)
        begun = self._host.clock.monotonic()
        wanted = await self._opening.prepare(ask)
        # whoever hangs up meanwhile is noticed at the next step, which is inside of what settles
        opened = await _whole(self._host.db.submit(lambda tx: self._opening.begin(tx, ask, wanted, deadline), brief=True))
        if isinstance(opened, Query):
            for event in _again(completion_wire.told_again(opened, vectors=isinstance(ask.content, Texts))):
                yield event
            return
        running = Running(self._host, self._known, ask, opened, deadline, begun)
        try:
            await asyncio.sleep(opened.reservation.wait.total_seconds())
            async with aclosing(self._run(ask, opened, running, deadline)) as events:
                async for event in events:
                    yield event
        except (CallFailedError, Refusal) as error:
            failure = _failure(error)
            query = await self._end(running, failure)
            if isinstance(error, Refusal) and not (ask.stream and running.answer.begun):
                raise
            raise QueryFailedError(failure, query) from error
        except BaseException as error:
            # the caller hung up, or something unexpected happened: what came is paid for all the same
            await self._end(running, _given_up(error))
            raise
        completed = await self._completed(running)
        yield completed

    def _deadline(self, ask: Ask) -> timedelta:
        longest = self._known.settings.query_timeout
        return longest if ask.deadline is None else min(ask.deadline, longest)

    async def _run(self, ask: Ask, opened: Opened, running: Running, deadline: timedelta) -> AsyncGenerator[Event, None]:
        """Attempts until one succeeds; CallFailedError when none does."""
        limits = self._limits[ask.silent]
        limits = limits if deadline == limits.deadline else replace(limits, deadline=deadline)
        state = attempts.begin(opened.plan, limits)
        self._retries.deposit(self._host.clock.monotonic())
        while True:
            action = attempts.next_action(state, running.elapsed())
            if isinstance(action, GiveUp):
                raise CallFailedError(action.failure)
            if isinstance(action, Wait):
                await asyncio.sleep(action.duration.total_seconds())
                continue
            target = action.candidate.target
            if not running.may_ask(target) or (target != running.target and not await _whole(running.move(action.candidate))):
                state = attempts.without(state, action.candidate, may_retry=self._may_retry)
                continue
            failure = None
            running.begin_attempt()
            try:
                far_end = target_of(self._known, opened.keys, action, silent=ask.silent)
                if ask.stream:
                    async with aclosing(self._streamed(far_end, ask, running)) as events:
                        async for event in events:
                            yield event
                elif isinstance(ask.content, Texts):
                    await batches.run(self._remote, far_end, ask.content, running)
                else:
                    for delta in pieces(await self._remote.complete(far_end, ask.chat)):
                        running.add(delta)
            except CallFailedError as error:
                failure = error.failure
            except BaseException as error:
                running.end_attempt(action, _given_up(error))
                raise
            running.end_attempt(action, failure)
            if failure is None:
                return
            state = attempts.after(
                state,
                action,
                failure,
                running.elapsed(),
                first_token_seen=ask.stream and running.answer.begun,
                chance=random.random,
                may_retry=self._may_retry,
            )

    def _may_retry(self) -> bool:
        return self._retries.withdraw(self._host.clock.monotonic())

    async def _streamed(self, target: Target, ask: Ask, running: Running) -> AsyncGenerator[Event, None]:
        """One call to one model; tells who answers as soon as there is something to show."""
        started = False
        async with aclosing(self._remote.stream(target, ask.chat)) as deltas:
            async for came in deltas:
                shown: list[Delta] = []
                for delta in came:
                    running.add(delta)
                    if running.answer.begun and not started:
                        started = True
                        yield _started(running)
                        # counts may have come before the first word
                        delta = replace(delta, usage=running.answer.usage)  # noqa: PLW2901 - the same piece with more in it
                    if started:
                        shown.append(delta)
                    if running.needs_more:
                        # what is paid for is shown, also when nothing may follow
                        yield shown
                        shown = []
                        await self._top_up(running)
                if shown:
                    yield shown
        if not started:
            # nothing was said, but why it ended and what it cost: all of it may have gone into thoughts that are not shown
            yield _started(running)
            yield tuple(pieces(running.answer.answer()))

    async def _top_up(self, running: Running) -> None:
        denied = await _whole(running.top_up())
        if denied is not None:
            raise reserving.refusal(denied)

    async def _completed(self, running: Running) -> Completed:
        query = await self._end(running, None)
        return completion_wire.told(query, running.answer.answer())

    async def _end(self, running: Running, failure: Failure | None) -> Query:
        """Settles; goes on to its end also when whoever waits for it is cancelled meanwhile."""
        answer = completion_wire.kept(running.answer.answer()) if failure is None and running.query.request_id else b""
        task = asyncio.create_task(self._settled(running, failure, answer), name="settle")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return await asyncio.shield(task)

    async def _settled(self, running: Running, failure: Failure | None, answer: bytes) -> Query:
        """Tries as long as the reservation stands: what a provider has answered has to be paid for, also when the store is away."""
        while True:
            try:
                brief = len(answer) <= _BRIEF_BYTES
                return await self._host.db.submit(lambda tx: running.end(tx, failure, answer), brief=brief)
            except Refusal as refusal:
                if not is_away(refusal) or running.expired:
                    raise
                log.warning("query %s waits for its settlement: %s", running.query.query_id, refusal)
            await asyncio.sleep(_AGAIN_SECONDS)


async def _whole(work: Awaitable[T]) -> T:
    """Runs to its end also when whoever waits for it is cancelled, who is told at their next step.

    A transaction cannot be called back, and what it did must be known to whoever has to undo it.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        # what asyncio.wait() does for many, for one
        waiter = asyncio.get_running_loop().create_future()
        task.add_done_callback(partial(_wake, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and (me := asyncio.current_task()) is not None:
        # the same request, put off: it must not count twice
        me.uncancel()
        me.cancel()
    return task.result()


def _wake(waiter: asyncio.Future[None], _: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _given_up(error: BaseException) -> Failure:
    """Why an attempt was left before its end; none of it is the provider's fault."""
    if isinstance(error, Refusal):
        return Failure(FailureKind.CANCELLED, f"given up: {error.message}")
    hung_up = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return Failure(FailureKind.CANCELLED, "the caller hung up" if hung_up else f"given up after {type(error).__name__}")


def _started(running: Running) -> Started:
    query = running.query
    return Started(query.query_id, query.provider_id, query.model, running.reservation.amount)


def _failure(error: CallFailedError | Refusal) -> Failure:
    """Why it ended; a budget that lets no more through is nobody's failure but the caller must know."""
    if isinstance(error, CallFailedError):
        return error.failure
    return Failure(FailureKind.QUOTA_EXHAUSTED, error.message)


def _again(completed: Completed) -> list[Event]:
    """An answer of before as a stream."""
    started = Started(completed.query_id, completed.provider_id, completed.model, completed.cost)
    return [started, tuple(pieces(completed.answer)), completed]
