"""A running subscription: its members and what they say, where it stands, and what an operator does with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from tooloo.bus.v1.bus_service_pb2 import PullRequest, PullResponse
from tooloo.bus.v1.subscription_pb2 import Subscription

from bus import definitions
from bus.ack_writer import AckWriter
from bus.dealing import Dealer
from bus.deliveries import Policy, Retry
from bus.dispatcher import Dispatcher
from bus.member import Member
from bus.ranges import AckState
from bus.refusals import too_many
from bus.settings import BusSettings
from bus.storage import DiskFull, EventLog, Some, Stored, SubscriptionStore
from mesh.clock import Clock, to_us
from mesh.unbroken import unbroken

_STOP_SECONDS = 2.0
# a fencing token that no stream has
_NOBODY = 0


class Running:
    """One subscription at work, all of it in the loop's thread: `dealer` is its state, and two tasks work on it.

    The dispatcher deals its events out to the members; what they answer follows to the disk by the writer.
    """

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
        self._log = log_
        self._store = store
        self._settings = settings
        self._clock = clock
        self._new_token = new_token
        self._members: list[Member] = []
        self._writer = AckWriter(stored.name, store, settings, clock, self._members)
        self.dispatcher = Dispatcher(stored.name, log_, store, settings, clock, self._members, self._writer)
        self.dispatcher.paused = stored.paused
        self._tasks: list[asyncio.Task[None]] = []
        self._install(stored.acks)

    async def start(self) -> None:
        """Takes over the retries that are on disk and begins to work."""
        self.dealer.carry(await self._stored_retries(self.dealer.policy))
        self._tasks = [
            asyncio.create_task(self.dispatcher.run(), name=f"deal {self.name}"),
            asyncio.create_task(self._writer.run(), name=f"write {self.name}"),
        ]

    async def stop(self) -> None:
        """Writes down what is settled and ends; what was out counts as never delivered."""
        for member in list(self._members):
            self.leave(member, counted=False)
        # acks that find no room are delivered again, which is allowed; a stop that never ends is not. The writing task goes on
        # meanwhile: broken off, it would take dead letters with it whose events count as settled by the last write
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._writer.write()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    def end_streams(self, failure: Exception) -> None:
        """Ends every stream with a refusal."""
        self.dispatcher.end_streams(failure)

    @property
    def members(self) -> int:
        """Streams that pull it now."""
        return len(self._members)

    def join(self, first: PullRequest) -> Member:
        """A new member, from its opening request; RESOURCE_EXHAUSTED when there are too many."""
        if len(self._members) >= self._settings.max_members:
            raise too_many(BusSettings.env_name("max_members"), "members", self._settings.max_members)
        seconds = definitions.silence_of(first.heartbeat, self._settings)
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
        self._writer.notice()
        self.dispatcher.look()

    def handle(self, member: Member, request: PullRequest) -> None:
        """Applies what a member says: credit, acks, nacks, extensions."""
        dealer, now = self.dealer, self._clock.monotonic()
        # on the opening request the member cannot know its token yet; who names another one holds nothing
        token = member.token if request.fencing_token in (0, member.token) else _NOBODY
        refused = []
        # before the acknowledgements: one up to a position must not settle what is given back beside it
        for nack in request.nacks:
            retry_after = nack.retry_after.ToTimedelta().total_seconds() if nack.HasField("retry_after") else None
            if not dealer.nack(token, nack.position, now, retry_after=retry_after, park=nack.park, error=nack.error):
                refused.append(nack.position)
        refused += dealer.ack(token, request.ack)
        if request.ack_up_to:
            dealer.ack_up_to(token, request.ack_up_to)
        if request.extend:
            refused += dealer.extend(token, request.extend, now)
        member.refuse(refused)
        member.credit_events += request.credit_events
        member.credit_bytes += request.credit_bytes
        self._writer.notice()
        self.dispatcher.look()

    async def stamp(self, response: PullResponse, delivers: bool) -> None:
        """Adds to an answer where the subscription stands."""
        response.ack_floor = self._writer.floor
        response.head_position = self._log.head
        response.lag_events = self.backlog
        if not delivers:
            response.lag.CopyFrom(definitions.duration_message(await self.lag()))

    @property
    def backlog(self) -> int:
        """Positions up to the head that are not settled."""
        acks = self.dealer.acks
        return max(0, self._log.head - acks.floor - acks.above_floor)

    @property
    def keep_from(self) -> float:
        """The first position that it still needs in the log: not settled, or a dead letter that is not on the disk yet."""
        return min(self.dealer.oldest_unsettled, self._writer.keep_from)

    async def lag(self) -> timedelta:
        """Age of the oldest unacknowledged event; zero when there is none."""
        return await self._log.age_of(self.dealer.oldest_unsettled)

    async def describe(self, dead_letters: int) -> Subscription:
        """The subscription as the contract shows it."""
        shown = Subscription()
        shown.CopyFrom(self.definition)
        shown.state = Subscription.STATE_PAUSED if self.dispatcher.paused else Subscription.STATE_ACTIVE
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
        self.dispatcher.paused = paused
        self.dispatcher.wake()

    async def seek(self, floor: int) -> None:
        """Moves to after a position; what was out is fenced."""
        async with self._replacing():
            # a dead letter that a member asked for is one, wherever the subscription goes on
            await self._writer.write_changes()
            # what was redriven is no part of the log that is moved over: it is given out all the same
            redriven = [retry for retry in await self._stored_retries(self.dealer.policy) if retry.redriven]
            await self._store.move(self.name, floor)
            self._install(AckState(floor))
            self.dealer.carry(redriven)

    async def redefine(self, definition: Subscription) -> None:
        """Another filter or policy from here on; what was out is fenced and dealt out anew."""
        async with self._replacing():
            floor, ranges = await self._writer.write_changes()
            retries = await self._stored_retries(definitions.policy_of(definition, self._settings))
            await self._store.update_definition(self.name, definition.SerializeToString())
            self.definition = definition
            self._install(AckState.decode(floor, ranges))
            self.dealer.carry(retries)

    async def delete(self) -> None:
        """Takes it off the disk; nothing is written of it any more. DiskFull, and then it stands as before."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._writer.lock.acquire()
        except TimeoutError:
            # the lock is held for so long only by acknowledgements that find no room
            raise DiskFull from None
        try:
            await self._store.delete(self.name)
            self._writer.end()
        finally:
            self._writer.lock.release()

    def erased(self, subject: str) -> None:
        """Lets go of what was read and not sent: it is read from the log again, as that stands now.

        A member to whom the subject is about to be sent gets anew all that it holds; what is on its way already arrives.
        """
        text = subject.encode()
        self._fence([member for member in self._members if member.is_to_be_sent(text)])
        self.dispatcher.read_again()

    @unbroken
    async def redrive(self, positions: Sequence[int] | None) -> int:
        """Deals dead letters out again, some in each write; returns how many. Broken off, the others are letters as before."""
        some = Some(positions, 0, self._settings.redrive_batch, self._settings.redrive_bytes)
        count = 0
        while retries := await self._redrive(some):
            count += len(retries)
            # never one twice: what is a letter again meanwhile waits for the next call
            some = replace(some, after=retries[-1].position)
        return count

    @unbroken
    async def written(self) -> None:
        """Returns when everything answered so far is on disk."""
        await self._writer.write()

    async def _redrive(self, some: Some) -> list[Retry]:
        async with self._writer.lock:
            await self._writer.write_changes()
            retries = await self._store.redrive(self.name, some, to_us(self._clock.now()))
            self.dealer.carry(retries)
        self.dispatcher.wake()
        return retries

    def _install(self, acks: AckState) -> None:
        """Begins to deal anew from an ack state."""
        self.dealer = Dealer(definitions.policy_of(self.definition, self._settings), acks)
        self._writer.begin(self.dealer)
        self.dispatcher.begin(self.dealer, definitions.filter_of(self.definition.filter))

    @asynccontextmanager
    async def _replacing(self) -> AsyncIterator[None]:
        """While the dealer is replaced. What was out is fenced first: nobody settles it behind what is written meanwhile."""
        async with self._writer.lock:
            self._fence(self._members)
            with self.dispatcher.held():
                yield

    def _fence(self, members: Sequence[Member]) -> None:
        """Takes back what members hold, and is no delivery then, and gives them other tokens."""
        for member in members:
            self.dealer.release(member.token, self._clock.monotonic(), counted=False)
            member.fence(self._new_token())

    async def _stored_retries(self, policy: Policy) -> list[Retry]:
        now, now_us, longest = self._clock.monotonic(), to_us(self._clock.now()), max(policy.backoff)

        def due(due_us: int, asked_us: int) -> float:
            # a clock that was set back must not make a retry wait longer than any backoff, or than a member asked for
            return now + min(max((due_us - now_us) / 1e6, 0.0), max(longest, asked_us / 1e6))

        retries = await self._store.retries(self.name, due)
        if not policy.order_by_subject or all(retry.subject for retry in retries):
            return retries
        # written while order did not matter, so without their subjects
        events = await self._log.events(retry.position for retry in retries)
        return [replace(retry, subject=events[retry.position].subject) if retry.position in events else retry for retry in retries]
