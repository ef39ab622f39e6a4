"""The dealing task of a subscription: reads the log, and sends its members what the dealer deals out, as far as they want it."""

import asyncio
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bus.ack_writer import AckWriter
from bus.bodies import Bodies
from bus.dealing import Dealer
from bus.deliveries import Entry
from bus.filters import Filter
from bus.matching import Matcher
from bus.member import Member
from bus.settings import BusSettings
from bus.slices import Chunk, Slice
from bus.storage import BeforeRetention, EventLog, SubscriptionStore
from mesh.clock import Clock

log = logging.getLogger(__name__)
# shares of one turn when several members want events, so that no one takes all
_TURN = 64
_RETRY_SECONDS = 0.5


class Dispatcher:
    """Deals out to `members`, in turns. From one begin() to the next it works with one dealer; what was under way is void then."""

    def __init__(
        self,
        name: str,
        log_: EventLog,
        store: SubscriptionStore,
        settings: BusSettings,
        clock: Clock,
        members: list[Member],
        writer: AckWriter,
    ) -> None:
        self.paused = False
        self._held = False
        self._name = name
        self._log = log_
        self._store = store
        self._settings = settings
        self._clock = clock
        self._members = members
        self._writer = writer
        self._wake = asyncio.Event()
        # while the task waits, until it is woken or this time of the clock has come
        self._resting = False
        self._rests_until = math.inf
        # counts how often what was read had to be read again
        self._reads = 0

    def begin(self, dealer: Dealer, wanted: Filter) -> None:
        """Goes on with another dealer, where that one stands."""
        self._dealer = dealer
        self._matcher = Matcher(self._log, wanted)
        self._bodies = self._no_bodies()

    def wake(self) -> None:
        """Looks again at once: there may be something to do."""
        self._wake.set()

    def look(self) -> None:
        """Wakes the task if there is something to do: a member has answered or gone."""
        if self._has_work():
            self._wake.set()

    def news(self) -> None:
        """The log has grown. Deals it out at once when that is simple: a hand-over to the task costs more than that."""
        try:
            dealt = self._resting and self._deal_now()
        except Exception:
            # whoever commits must not suffer; the task goes on, and tells the members what it meets
            log.exception("subscription %s could not deal at once", self._name)
            dealt = False
        if not dealt:
            self._wake.set()

    def read_again(self) -> None:
        """Lets go of what was read and not sent: it is read from the log again, as that stands now."""
        self._reads += 1
        self._matcher.read_again()
        self._dealer.unbundle()
        self._bodies = self._no_bodies()
        self.wake()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Deals nothing out for as long as it lasts: another dealer is about to take this one's place."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.wake()

    def end_streams(self, failure: Exception) -> None:
        """Ends every member's stream with a refusal."""
        for member in self._members:
            member.fail(failure)

    async def run(self) -> None:
        """Deals out for ever."""
        while True:
            self._wake.clear()
            self._dealer.expire(self._clock.monotonic())
            self._writer.notice()
            try:
                busy = await self._deal_once()
            except Exception as error:
                # a damaged record, or a disk that cannot be read: members are told, and it is tried again when they come back
                log.exception("subscription %s cannot go on", self._name)
                self.end_streams(error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if not busy:
                await self._rest()

    async def _rest(self) -> None:
        due = self._dealer.next_due()
        self._resting, self._rests_until = True, math.inf if due is None else due
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            self._resting = False

    def _deal_now(self) -> bool:
        """Deals out what is new when it is in memory and nothing else waits; False when the task has to do it."""
        dealer = self._dealer
        hungry = self._hungry()
        if not hungry or dealer.ready(self._clock.monotonic()) or self._is_full() or self._wake.is_set():
            return False
        try:
            chunk = self._matcher.now(dealer.cursor)
        except BeforeRetention:
            return False
        if chunk is None:
            return False
        self._take_in(chunk, {})
        for member in hungry:
            self._send_runs(member, self._share(member, hungry))
        self._take_turns()
        return not self._has_work()

    async def _deal_once(self) -> bool:
        """Gives each member with credit a share, or reads on in the log; False when there is nothing to do."""
        hungry = self._hungry()
        if not hungry:
            return False
        if not self._dealer.ready(self._clock.monotonic()):
            return await self._scan()
        for member in hungry:
            if self._held:
                break
            limit = self._share(member, hungry)
            entries = self._dealer.take(member.token, member.most_that_fit(limit), self._clock.monotonic())
            if entries:
                await self._send(member, entries)
            else:
                self._send_runs(member, limit)
        self._take_turns()
        return True

    def _take_turns(self) -> None:
        """The next turn begins with another member."""
        if self._members:
            self._members.append(self._members.pop(0))

    def _hungry(self) -> list[Member]:
        """The members that want events."""
        return [] if self.paused or self._held else [member for member in self._members if member.room > 0]

    def _share(self, member: Member, hungry: Sequence[Member]) -> int:
        """How many events a member gets in one turn."""
        return min(member.room, self._settings.message_events if len(hungry) == 1 else _TURN)

    def _is_full(self) -> bool:
        """Whether too much is unsettled to read on."""
        dealer = self._dealer
        return dealer.unsettled >= self._settings.max_unsettled or dealer.in_flight >= dealer.policy.max_in_flight

    async def _send(self, member: Member, entries: list[Entry]) -> None:
        dealer, token = self._dealer, member.token
        reads = None
        while reads != self._reads:
            # what was erased while it was being read is not delivered any more
            reads = self._reads
            bodies = await self._bodies.take(entry.position for entry in entries)
        if dealer is not self._dealer or member.gone or member.token != token:
            # fenced while its events were being read: they were given back with the token
            return
        # what the log no longer holds cannot be delivered any more
        dealer.ack(token, [entry.position for entry in entries if entry.position not in bodies])
        found = [entry for entry in entries if entry.position in bodies]
        if beyond := found[member.fitting([len(bodies[entry.position]) for entry in found]) :]:
            found = found[: -len(beyond)]
            dealer.put_back(beyond)
            self._bodies.put_back({entry.position: bodies[entry.position] for entry in beyond})
        if found:
            dealer.sent(token, found)
            member.send(found, bodies, self._settings.message_bytes)

    def _send_runs(self, member: Member, limit: int) -> None:
        """Sends runs together until a message is full."""
        dealer, now, message_bytes = self._dealer, self._clock.monotonic(), self._settings.message_bytes
        room = min(message_bytes, member.room_bytes or message_bytes)
        pieces: list[Slice] = []
        while room > 0 and (run := dealer.take_run(member.token, limit, now, room)):
            pieces.append(run.take_events())
            limit -= len(run)
            room -= len(pieces[-1].events)
        member.send_slices(pieces, message_bytes, self._settings.message_events)

    async def _scan(self) -> bool:
        """Looks at the next part of the log; False when there is none, or too much is unsettled already."""
        dealer = self._dealer
        if self._is_full():
            return False
        reads = self._reads
        try:
            chunk, failures = await self._matcher.judged(dealer.cursor)
        except BeforeRetention as gone:
            log.warning("subscription %s goes on at position %s: what stood before is deleted", self._name, gone.first)
            dealer.scanned(gone.first - 1)
            return True
        if dealer is not self._dealer or reads != self._reads:
            return True
        if chunk.scanned <= dealer.cursor:
            return False
        self._take_in(chunk, failures)
        return True

    def _take_in(self, chunk: Chunk, failures: Mapping[int, str]) -> None:
        """Hands what was read to the dealer."""
        dealer = self._dealer
        for piece in chunk.slices:
            if failures or not dealer.offer_run(piece):
                # what was settled before a restart is never dealt out: kept, it would take the room of what is
                if fresh := piece.beside(failures.keys() | dealer.acks.among(piece.positions)):
                    self._bodies.keep(fresh)
                dealer.scanned(piece.last, [(event.position, event.subject) for event in piece.decode()], failures)
        dealer.scanned(chunk.scanned)

    def _has_work(self) -> bool:
        """Whether the task has something to do now, or earlier than it thinks."""
        dealer = self._dealer
        if not self._resting or dealer.cursor < self._log.head or dealer.ready(self._clock.monotonic()):
            return True
        due = dealer.next_due()
        return due is not None and due < self._rests_until

    def _no_bodies(self) -> Bodies:
        return Bodies(self._log, self._store, self._name, self._settings.subscription_cache_bytes)
