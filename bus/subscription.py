"""A running subscription: scans the log for its events, deals them out to its members, and writes down what they answer."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from tooloo.bus.v1.bus_service_pb2 import PullRequest, PullResponse
from tooloo.bus.v1.subscription_pb2 import Subscription

from bus import definitions
from bus.bodies import Bodies
from bus.dealing import Dealer
from bus.deliveries import Changes, Entry, Retry
from bus.matching import Matcher
from bus.member import Member
from bus.ranges import AckState
from bus.refusals import too_many
from bus.settings import BusSettings
from bus.slices import Chunk, Slice
from bus.storage import BeforeRetention, DiskFull, EventLog, QueueFull, Stored, SubscriptionStore
from mesh.clock import Clock, to_us

log = logging.getLogger(__name__)
# shares of one turn when several members want events, so that no one takes all
_TURN = 64
_UNWRITTEN_SETTLED = 10_000
_RETRY_SECONDS = 0.5
_STOP_SECONDS = 2.0


class Running:
    """One subscription at work, all of it in the loop's thread: `dealer` is its state, the disk follows in transactions."""

    def __init__(
        self,
        stored: Stored,
        log_: EventLog,
        store: SubscriptionStore,
        settings: BusSettings,
        clock: Clock,
        new_token: Callable[[], int],
    ) -> None:
        self.name = stored.name
        self.definition = Subscription.FromString(stored.definition)
        self.create_time_us = stored.create_time_us
        self.paused = stored.paused
        self._log = log_
        self._store = store
        self._settings = settings
        self._clock = clock
        self._new_token = new_token
        self._members: list[Member] = []
        self._written_floor = stored.acks.floor
        self._wake = asyncio.Event()
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        # while the dealing task waits, until it is woken or this time of the clock has come
        self._resting = False
        self._rests_until = math.inf
        # counts how often what was read had to be read again
        self._reads = 0
        self._install(stored.acks)

    async def start(self) -> None:
        """Takes over the retries that are on disk and begins to work."""
        self.dealer.carry(await self._stored_retries())
        self._tasks = [
            asyncio.create_task(self._deal_forever(), name=f"deal {self.name}"),
            asyncio.create_task(self._write_forever(), name=f"write {self.name}"),
        ]

    async def stop(self) -> None:
        """Writes down what is settled and ends; what was out counts as never delivered."""
        for member in list(self._members):
            self.leave(member, counted=False)
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        # acks that find no room are delivered again, which is allowed; a stop that never ends is not
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._write()

    def end_streams(self, failure: Exception) -> None:
        """Ends every stream with a refusal."""
        for member in self._members:
            member.fail(failure)

    @property
    def members(self) -> int:
        """Streams that pull it now."""
        return len(self._members)

    def wake(self) -> None:
        """Looks again at once: there may be something to do."""
        self._wake.set()

    def news(self) -> None:
        """The log has grown. Deals it out at once when that is simple: a hand-over to the dealing task costs more than that."""
        try:
            dealt = self._resting and self._deal_now()
        except Exception:
            # whoever commits must not suffer; the dealing task goes on, and tells the members what it meets
            log.exception("subscription %s could not deal at once", self.name)
            dealt = False
        if not dealt:
            self.wake()

    def join(self, first: PullRequest) -> Member:
        """A new member, from its opening request; RESOURCE_EXHAUSTED when there are too many."""
        if len(self._members) >= self._settings.max_members:
            raise too_many(BusSettings.env_name("max_members"), "members", self._settings.max_members)
        seconds = first.heartbeat.ToTimedelta().total_seconds() or self._settings.heartbeat.total_seconds()
        member = Member(self._new_token(), seconds, counts_bytes=first.credit_bytes > 0)
        self._members.append(member)
        return member

    def leave(self, member: Member, *, counted: bool) -> None:
        """Takes a member out and gives back at once what it held; `counted` when its stream broke."""
        if member.gone:
            return
        member.gone = True
        self._members.remove(member)
        self.dealer.release(member.token, self._clock.monotonic(), counted=counted)
        self._changed()

    def handle(self, member: Member, request: PullRequest) -> None:
        """Applies what a member says: credit, acks, nacks, extensions."""
        now = self._clock.monotonic()
        # on the opening request the member cannot know its token yet
        token = request.fencing_token or member.token
        refused = []
        # before the acknowledgements: one up to a position must not settle what is given back beside it
        for nack in request.nacks:
            retry_after = nack.retry_after.ToTimedelta().total_seconds() if nack.HasField("retry_after") else None
            if not self.dealer.nack(token, nack.position, now, retry_after=retry_after, park=nack.park, error=nack.error):
                refused.append(nack.position)
        refused += self.dealer.ack(token, request.ack)
        if request.ack_up_to:
            self.dealer.ack_up_to(token, request.ack_up_to)
        refused += self.dealer.extend(token, request.extend, now)
        member.refuse(refused)
        member.credit_events += request.credit_events
        member.credit_bytes += request.credit_bytes
        self._changed()

    async def stamp(self, response: PullResponse, delivers: bool) -> None:
        """Adds to an answer where the subscription stands."""
        response.ack_floor = self._written_floor
        response.head_position = self._log.head
        response.lag_events = self.backlog
        if not delivers:
            response.lag.CopyFrom(definitions.duration_message(await self.lag()))

    @property
    def backlog(self) -> int:
        """Positions up to the head that are not settled."""
        return max(0, self._log.head - self.dealer.acks.floor - self.dealer.acks.above_floor)

    async def lag(self) -> timedelta:
        """Age of the oldest unacknowledged event; zero when there is none."""
        return await self._log.age_of(self.dealer.oldest_unsettled)

    async def describe(self, dead_letters: int) -> Subscription:
        """The subscription as the contract shows it."""
        shown = Subscription()
        shown.CopyFrom(self.definition)
        shown.state = Subscription.STATE_PAUSED if self.paused else Subscription.STATE_ACTIVE
        shown.ack_floor = self.dealer.acks.floor
        shown.head_position = self._log.head
        shown.backlog = self.backlog
        shown.oldest_unacknowledged_age.CopyFrom(definitions.duration_message(await self.lag()))
        shown.in_flight = self.dealer.in_flight
        shown.members = self.members
        shown.dead_letters = dead_letters
        shown.create_time.FromMicroseconds(self.create_time_us)
        return shown

    async def set_paused(self, paused: bool) -> None:
        """Pauses or resumes, on disk first."""
        await self._store.set_paused(self.name, paused)
        self.paused = paused
        self.wake()

    async def seek(self, floor: int) -> None:
        """Moves to after a position; what was out is fenced."""
        async with self._writing:
            await self._store.move(self.name, floor)
            self._install(AckState(floor))
            self._fence_members()

    async def redefine(self, definition: Subscription) -> None:
        """Another filter or policy from here on; what was out is fenced and dealt out anew."""
        encoded = definition.SerializeToString()
        async with self._writing:
            await self._store.update_definition(self.name, encoded)
            self.definition = definition
            for member in self._members:
                self.dealer.release(member.token, self._clock.monotonic(), counted=False)
            await self._write_changes()
            acks = AckState(self.dealer.acks.floor, self.dealer.acks.ranges)
            self._install(acks)
            self.dealer.carry(await self._stored_retries())
            self._fence_members()

    def read_again(self) -> None:
        """Lets go of what was read and not sent: it is read from the log again, as that stands now."""
        self._reads += 1
        self._matcher.read_again()
        self.dealer.unbundle()
        self._bodies = Bodies(self._log, self._store, self.name, self._settings.subscription_cache_bytes)
        self.wake()

    async def redrive(self, positions: Sequence[int] | None) -> int:
        """Deals dead letters out again; returns how many."""
        async with self._writing:
            await self._write_changes()
            now_us = to_us(self._clock.now())
            retries = await self._store.redrive(self.name, positions, now_us)
            self.dealer.carry(retries)
        self.wake()
        return len(retries)

    async def written(self) -> None:
        """Returns when everything answered so far is on disk."""
        await self._write()

    def _install(self, acks: AckState) -> None:
        """Begins to deal anew from an ack state."""
        self.dealer = Dealer(definitions.policy_of(self.definition, self._settings), acks)
        self._matcher = Matcher(self._log, definitions.filter_of(self.definition.filter))
        self._bodies = Bodies(self._log, self._store, self.name, self._settings.subscription_cache_bytes)
        self._written_floor = acks.floor

    def _fence_members(self) -> None:
        for member in self._members:
            member.fence(self._new_token())
        self.wake()

    async def _stored_retries(self) -> list[Retry]:
        now, now_us, longest = self._clock.monotonic(), to_us(self._clock.now()), max(self.dealer.policy.backoff)

        def seconds_of(due_us: int) -> float:
            # a clock that was set back must not make a retry wait longer than any backoff
            return now + min(max((due_us - now_us) / 1e6, 0.0), longest)

        retries = await self._store.retries(self.name, seconds_of)
        if not self.dealer.policy.order_by_subject or all(retry.subject for retry in retries):
            return retries
        # written while order did not matter, so without their subjects
        events = await self._log.events(retry.position for retry in retries)
        return [replace(retry, subject=events[retry.position].subject) if retry.position in events else retry for retry in retries]

    def _changed(self) -> None:
        if self.dealer.changes:
            self._dirty.set()
        if self._has_work():
            self._wake.set()

    def _has_work(self) -> bool:
        """Whether the dealing task has something to do now, or earlier than it thinks."""
        dealer, due = self.dealer, self.dealer.next_due()
        news = dealer.cursor < self._log.head or dealer.ready(self._clock.monotonic())
        return news or not self._resting or (due is not None and due < self._rests_until)

    async def _deal_forever(self) -> None:
        while True:
            self._wake.clear()
            self.dealer.expire(self._clock.monotonic())
            if self.dealer.changes or self.dealer.acks.floor - self._written_floor >= _UNWRITTEN_SETTLED:
                self._dirty.set()
            try:
                busy = await self._deal_once()
            except Exception as error:
                # a damaged record, or a disk that cannot be read: members are told, and it is tried again when they come back
                log.exception("subscription %s cannot go on", self.name)
                self.end_streams(error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if not busy:
                await self._rest()

    async def _rest(self) -> None:
        due = self.dealer.next_due()
        self._resting, self._rests_until = True, math.inf if due is None else due
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            self._resting = False

    def _deal_now(self) -> bool:
        """Deals out what is new when it is in memory and nothing else waits; False when the dealing task has to do it."""
        dealer = self.dealer
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
        if not self.dealer.ready(self._clock.monotonic()):
            return await self._scan()
        for member in hungry:
            limit = self._share(member, hungry)
            entries = self.dealer.take(member.token, limit, self._clock.monotonic())
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
        return [] if self.paused else [member for member in self._members if member.room > 0]

    def _share(self, member: Member, hungry: Sequence[Member]) -> int:
        """How many events a member gets in one turn."""
        return min(member.room, self._settings.message_events if len(hungry) == 1 else _TURN)

    def _is_full(self) -> bool:
        """Whether too much is unsettled to read on."""
        return self.dealer.unsettled >= self._settings.max_unsettled or self.dealer.in_flight >= self.dealer.policy.max_in_flight

    async def _send(self, member: Member, entries: list[Entry]) -> None:
        dealer, token = self.dealer, member.token
        reads = None
        while reads != self._reads:
            # what was erased while it was being read is not delivered any more
            reads = self._reads
            bodies = await self._bodies.take(entry.position for entry in entries)
        if dealer is not self.dealer or member.gone or member.token != token:
            # fenced while its events were being read: they were given back with the token
            return
        # what the log no longer holds cannot be delivered any more
        dealer.ack(token, [entry.position for entry in entries if entry.position not in bodies])
        if found := [entry for entry in entries if entry.position in bodies]:
            dealer.sent(token, found)
            member.send(found, bodies, self._settings.message_bytes)

    def _send_runs(self, member: Member, limit: int) -> None:
        """Sends runs together until a message is full."""
        now, room = self._clock.monotonic(), min(self._settings.message_bytes, member.room_bytes or self._settings.message_bytes)
        pieces: list[Slice] = []
        while room > 0 and (run := self.dealer.take_run(member.token, limit, now, room)):
            pieces.append(run.take_events())
            limit -= len(run)
            room -= len(pieces[-1].events)
        member.send_slices(pieces, self._settings.message_bytes, self._settings.message_events)

    async def _scan(self) -> bool:
        """Looks at the next part of the log; False when there is none, or too much is unsettled already."""
        dealer = self.dealer
        if self._is_full():
            return False
        reads = self._reads
        try:
            chunk, failures = await self._matcher.judged(dealer.cursor)
        except BeforeRetention as gone:
            log.warning("subscription %s goes on at position %s: what stood before is deleted", self.name, gone.first)
            dealer.scanned(gone.first - 1)
            return True
        if dealer is not self.dealer or reads != self._reads:
            return True
        if chunk.scanned <= dealer.cursor:
            return False
        self._take_in(chunk, failures)
        return True

    def _take_in(self, chunk: Chunk, failures: Mapping[int, str]) -> None:
        """Hands what was read to the dealer."""
        for piece in chunk.slices:
            if failures or not self.dealer.offer_run(piece):
                if sound := piece.beside(failures):
                    self._bodies.keep(sound)
                self.dealer.scanned(piece.last, [(event.position, event.subject) for event in piece.decode()], failures)
        self.dealer.scanned(chunk.scanned)

    async def _write_forever(self) -> None:
        while True:
            await self._dirty.wait()
            # a commit for each acknowledgement would double those of the publishes
            await asyncio.sleep(self._settings.ack_linger.total_seconds())
            self._dirty.clear()
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            await self._write_changes()

    async def _write_changes(self) -> None:
        """Writes what has gathered; while the disk is full it waits and tries again, for nothing of it may be lost."""
        dealer = self.dealer
        changes = dealer.flush()
        floor, ranges = dealer.acks.floor, dealer.acks.encode()
        if not changes and floor == self._written_floor:
            return
        while True:
            try:
                await self._apply(floor, ranges, changes)
                break
            except (DiskFull, QueueFull):
                await asyncio.sleep(_RETRY_SECONDS)
        self._written_floor = floor
        for member in self._members:
            member.acks_committed += changes.acked.get(member.token, 0)

    async def _apply(self, floor: int, ranges: bytes, changes: Changes) -> None:
        now, now_us = self._clock.monotonic(), to_us(self._clock.now())

        def us_of(due: float) -> int:
            return now_us + int((due - now) * 1e6)

        await self._store.apply(self.name, floor, ranges, changes, us_of, now_us)
