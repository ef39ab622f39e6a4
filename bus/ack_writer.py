"""Writes down where a subscription stands: what its members answered, gathered for a moment, in one transaction."""

import asyncio
from math import inf

from bus.dealing import Dealer
from bus.deliveries import Changes
from bus.member import Member
from bus.settings import BusSettings
from bus.storage import DiskFull, QueueFull, SubscriptionStore
from mesh.clock import Clock, to_us

# of positions that nobody answers for: the filter passes them over
_UNWRITTEN_SETTLED = 10_000
_RETRY_SECONDS = 0.5


class AckWriter:
    """Writes what a dealer has settled, and tells `members` how many of their acknowledgements are on disk.

    From one begin() to the next it works with one dealer. The lock is held while something is written, and by whoever changes what
    the disk holds of the subscription or puts another dealer in this one's place.
    """

    def __init__(self, name: str, store: SubscriptionStore, settings: BusSettings, clock: Clock, members: list[Member]) -> None:
        self.lock = asyncio.Lock()
        # everything up to here is settled on disk
        self.floor = 0
        self._name = name
        self._store = store
        self._settings = settings
        self._clock = clock
        self._members = members
        self._dirty = asyncio.Event()
        # taken from the dealer for a write that has not succeeded
        self._unwritten = Changes()
        self._ended = False

    @property
    def keep_from(self) -> float:
        """The first event that becomes a dead letter by what is not written yet: the log must hold it until then."""
        return min((position for gathered in (self._dealer.changes, self._unwritten) for position in gathered.dead), default=inf)

    def begin(self, dealer: Dealer) -> None:
        """Goes on with another dealer, whose ack state is the one on disk."""
        self._dealer = dealer
        self.floor = dealer.acks.floor
        self.notice()

    def notice(self) -> None:
        """Has it written in a moment what the dealer has to write by now."""
        dealer = self._dealer
        if dealer.changes or dealer.acks.floor - self.floor >= _UNWRITTEN_SETTLED:
            self._dirty.set()

    async def run(self) -> None:
        """Writes for ever, whenever there is something to write."""
        while True:
            await self._dirty.wait()
            # a commit for each acknowledgement would double those of the publishes
            await asyncio.sleep(self._settings.ack_linger.total_seconds())
            self._dirty.clear()
            await self.write()

    async def write(self) -> None:
        """Returns when everything answered so far is on disk."""
        async with self.lock:
            await self.write_changes()

    def end(self) -> None:
        """Writes nothing any more: the subscription is deleted."""
        self._ended = True

    async def write_changes(self) -> tuple[int, bytes]:
        """As write(), for who holds the lock. While the disk is full it waits and tries again, for nothing of it may be lost.

        Gives floor and ranges as they stood when it began: what is settled meanwhile is not on the disk yet. When it is cancelled,
        what it took belongs to the next write; to write twice what was stored changes nothing.
        """
        dealer, changes = self._dealer, self._unwritten
        changes.add(dealer.flush())
        floor, ranges = dealer.acks.floor, dealer.acks.encode()
        if self._ended or (not changes and floor == self.floor):
            return floor, ranges
        try:
            await self._patiently(floor, ranges, changes)
        except BaseException:
            self._dirty.set()
            raise
        self._unwritten, self.floor = Changes(), floor
        for member in self._members:
            member.acks_committed += changes.acked.get(member.token, 0)
        return floor, ranges

    async def _patiently(self, floor: int, ranges: bytes, changes: Changes) -> None:
        while True:
            try:
                return await self._apply(floor, ranges, changes)
            except (DiskFull, QueueFull):
                await asyncio.sleep(_RETRY_SECONDS)

    async def _apply(self, floor: int, ranges: bytes, changes: Changes) -> None:
        now, now_us = self._clock.monotonic(), to_us(self._clock.now())

        def us_of(due: float) -> int:
            return now_us + int((due - now) * 1e6)

        await self._store.apply(self._name, floor, ranges, changes, us_of, now_us)
