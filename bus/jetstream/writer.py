"""The one writer of the stream: publishes that wait together become one atomic batch, which names the sequence it follows.

Because every batch says which message is the last before it, NATS stores it only if nothing came in between: no other process can
slip in, and an attempt whose answer was lost is found in the stream instead of being stored again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bus.batches import Append, Appended, VersionConflict
from bus.jetstream.connection import BATCH, EXPECTED_LAST, Connection, DuplicateIds, Outgoing, Unreachable, WrongSequence
from bus.jetstream.messages import Item, items_of, message_of
from bus.jetstream.settings import NatsSettings
from bus.jetstream.tail import Tail
from bus.jetstream.types import Types
from bus.settings import BusSettings
from bus.storage import Closed, DiskFull, EventLog, QueueFull
from mesh.reconnect import Backoff

log = logging.getLogger(__name__)
# share of the newest commit in the moving average
_SMOOTHING = 0.1
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class _Waiting:
    """A publish and who waits for it."""

    items: list[Item]
    append: Append
    done: asyncio.Future[Appended]
    repeats: int | None = None


@dataclass
class _Placed:
    """What becomes of waiting publishes if the batch of `fresh` events is stored."""

    fresh: list[Item] = field(default_factory=list)
    outcomes: list[Appended | VersionConflict] = field(default_factory=list)
    positions: dict[bytes, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)


class Writer:
    """Stores publishes in the order in which they came, one batch after the other."""

    def __init__(
        self,
        log: EventLog,
        connection: Connection,
        tail: Tail,
        types: Types,
        settings: BusSettings,
        nats: NatsSettings,
        has_room: Callable[[], Awaitable[bool]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._log = log
        self._connection = connection
        self._tail = tail
        self._types = types
        self._prefix = nats.prefix
        self._limit = settings.write_queue
        self._unreachable_after = nats.unreachable_after.total_seconds()
        self._has_room = has_room
        self._on_failure = on_failure
        self._looking: asyncio.Task[None] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self.commits = 0
        self.commit_seconds = 0.0
        self.disk_full = False
        self._task = asyncio.create_task(self._run(), name="jetstream writer")

    def append(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a publish; VersionConflict, DiskFull, QueueFull or Closed when it cannot be."""
        if self._closed:
            raise Closed
        if self.disk_full:
            raise DiskFull
        if len(self._waiting) >= self._limit:
            raise QueueFull
        waiting = _Waiting(items_of(append, self._types), append, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        return waiting.done

    async def close(self) -> None:
        """Stores what waits and ends."""
        self._closed = True
        self._wake.set()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting or not self._closed:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._settle(self._gather())
        except Exception as error:  # noqa: BLE001 - whatever it is, what was promised can no longer be known
            self._closed = True
            self._refuse(self._waiting, Closed())
            self._on_failure(error)

    def _gather(self) -> list[_Waiting]:
        """The publishes of the next batch; those whose caller has gone meanwhile are left out."""
        group: list[_Waiting] = []
        count = 0
        while self._waiting and (not group or count + len(self._waiting[0].items) <= BATCH):
            waiting = self._waiting.popleft()
            if not waiting.done.done():
                group.append(waiting)
                count += len(waiting.items)
        return group

    async def _settle(self, group: list[_Waiting]) -> None:
        """Stores a group, or tells why not; whoever waits is told in any case."""
        try:
            placed = await self._stored(group)
        except (DiskFull, Unreachable) as failure:
            self._refuse(group, failure)
            # what came after a refused publish must not be stored before it comes again
            behind, self._waiting = self._waiting, deque()
            self._refuse(behind, failure)
        except BaseException:
            self._refuse(group, Closed())
            raise
        else:
            for waiting, outcome in zip(group, placed.outcomes, strict=True):
                _resolve(waiting, outcome)

    async def _stored(self, group: list[_Waiting]) -> _Placed:
        """Tries until the group is stored; DiskFull, or Unreachable when NATS has been away for too long."""
        loop = asyncio.get_running_loop()
        backoff, until = Backoff(), loop.time() + self._unreachable_after
        unsure = False
        while True:
            try:
                placed = await self._place(group, again=unsure)
                if placed.fresh:
                    await self._commit(placed.fresh)
            except (WrongSequence, DuplicateIds):
                head = self._log.head
                with suppress(Unreachable):
                    await self._tail.catch_up()
                if self._log.head == head:
                    # NATS knows an id that nothing shows any more: soon it does not either
                    await asyncio.sleep(backoff.wait())
            except DiskFull:
                log.error("NATS has no room: %d publishes are refused", len(group))  # noqa: TRY400 - it says all there is to say
                self.disk_full = True
                self._looking = asyncio.create_task(self._look_again(), name="jetstream room")
                raise
            except Unreachable:
                unsure = True
                if loop.time() >= until:
                    raise
                await asyncio.sleep(backoff.wait())
            else:
                return placed

    async def _commit(self, fresh: Sequence[Item]) -> None:
        started = asyncio.get_running_loop().time()
        await self._connection.publish(self._messages(fresh))
        self._tail.stored(fresh)
        self.commits += 1
        took = asyncio.get_running_loop().time() - started
        self.commit_seconds += (took - self.commit_seconds) * (_SMOOTHING if self.commits > 1 else 1.0)

    async def _look_again(self) -> None:
        """Lets publishes in again when there is room for them beside what is kept back."""
        while self.disk_full:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            self.disk_full = not await self._has_room()

    def _messages(self, fresh: Sequence[Item]) -> list[Outgoing]:
        messages = [message_of(item, self._types, self._prefix) for item in fresh]
        messages[0].headers[EXPECTED_LAST] = str(self._log.head)
        return messages

    async def _place(self, group: Sequence[_Waiting], *, again: bool) -> _Placed:
        """Gives the events of a group their positions, as they will be if nothing comes in between.

        `again` when an earlier attempt may have stored them: then they must not count as repeats of themselves.
        """
        placed = _Placed()
        for waiting in group:
            if not again:
                waiting.repeats = None
            placed.outcomes.append(await self._place_one(waiting, placed))
        return placed

    async def _place_one(self, waiting: _Waiting, placed: _Placed) -> Appended | VersionConflict:
        positions: list[int] = []
        fresh: dict[bytes, Item] = {}
        for item in waiting.items:
            position = placed.positions.get(item.key) or self._tail.window.position_of(item.key)
            if position is None:
                position = self._log.head + len(placed.fresh) + len(fresh) + 1
                if item.key in fresh:
                    position = positions[next(n for n, other in enumerate(waiting.items) if other.key == item.key)]
                fresh.setdefault(item.key, item)
            positions.append(position)
        if fresh and (standing := await self._conflicts(waiting.append, placed)):
            return VersionConflict(standing)
        for number, item in enumerate(fresh.values(), self._log.head + len(placed.fresh) + 1):
            placed.positions[item.key] = placed.newest[item.subject] = number
        placed.fresh += fresh.values()
        if waiting.repeats is None:
            waiting.repeats = len(positions) - len(fresh)
        return Appended(positions, waiting.repeats)

    async def _conflicts(self, append: Append, placed: _Placed) -> dict[str, int]:
        standing = {}
        for subject, expected in append.expected.items():
            newest = placed.newest.get(subject) or await self._tail.newest_of(subject)
            if newest != expected:
                standing[subject] = newest
        return standing

    def _refuse(self, group: Sequence[_Waiting] | deque[_Waiting], failure: Exception) -> None:
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(failure)


def _resolve(waiting: _Waiting, outcome: Appended | VersionConflict) -> None:
    if waiting.done.done():
        return
    if isinstance(outcome, VersionConflict):
        waiting.done.set_exception(outcome)
    else:
        waiting.done.set_result(outcome)
