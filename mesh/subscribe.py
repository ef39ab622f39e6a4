"""One member of a durable subscription: joins, takes batches, acknowledges, and comes back by itself when the stream breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.event.v1.event_pb2 import Event

from mesh.clock import Clock
from mesh.deliveries import Delivery, Nack, nack_message
from mesh.errors import Refusal
from mesh.reconnect import Backoff, is_final, refusal_of, until_closed
from mesh.writing import written

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.bus.v1.bus_service_pb2_grpc import EventBusAsyncStub

_CREDIT = 1000
_HEARTBEAT_SECONDS = 5.0
# a server that says nothing for so long is taken for dead
_STALLED_SECONDS = 4 * _HEARTBEAT_SECONDS
# a handled event is acknowledged after at most so long, or so many
_ACK_AFTER_SECONDS = 0.25
_ACK_AFTER_EVENTS = 100
# how long what was settled waits for more where nothing waits for it: a message for each event costs as much again as the event
_GATHER_SECONDS = 0.005
# half of the shortest usual ack deadline (30 s) and less
_EXTEND_SECONDS = 10.0
# a handler that takes longer than this has hung: its events go to another member
_LONGEST_HOLD_SECONDS = 600.0
_LEAVE_SECONDS = 2.0


class Subscription:
    """One member of a durable subscription: an async context manager and an async iterator.

    Plain iteration gives events; each is acknowledged when the next one is asked for, unless ack() or nack() settled it before.
    batches() gives lists of deliveries that the caller settles by itself with settle(), after its own commit. Use one of the two.
    What is held is extended by itself for up to ten minutes. Refusals that cannot be helped (e.g. NOT_FOUND after someone deleted
    the subscription) are raised from the iteration.
    """

    def __init__(self, stub: EventBusAsyncStub, definition: subscription_pb2.Subscription, clock: Clock) -> None:
        self._stub = stub
        self._clock = clock
        self._definition = definition
        self._credit = definition.max_in_flight or _CREDIT
        self._queue: asyncio.Queue[list[Delivery] | BaseException] = asyncio.Queue()
        # what is held, with the time since when: what came in order of position, and what came behind a higher one
        self._held: dict[int, float] = {}
        self._late: dict[int, float] = {}
        self._newest = 0
        self._token = 0
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._unsent: list[int] = []
        self._unsent_since = 0.0
        # settled and not told yet: what came in order, and what has to be named
        self._settled: list[int] = []
        self._named: list[int] = []
        # an event may wait for the one before it in its subject, and the bus for credit
        self._gathered = 0 if definition.order_by_subject else min(_ACK_AFTER_EVENTS, self._credit // 4)
        self._telling: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Makes the subscription if it is not there and joins it; waits for the bus as long as it takes."""
        await self._define()
        self._tasks = [asyncio.create_task(self._pull_forever()), asyncio.create_task(self._extend_forever())]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sends what was settled and leaves; what was not settled goes back to the bus."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._flush()
                await self._tell()
                if await self._write(pb.PullRequest(leave=True)):
                    # the server ends the stream when the acks are on disk
                    await self._tasks[0]
        tasks = [*self._tasks, self._telling] if self._telling else self._tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events one by one, acknowledged as the loop goes on."""
        async for batch in self.batches():
            for delivery in batch:
                if delivery.position not in self._held and delivery.position not in self._late:
                    # its lease was lost while earlier ones were handled: it is delivered again
                    continue
                yield delivery.event
                await self._acknowledge_later(delivery.position)
            await self._flush()

    async def batches(self) -> AsyncIterator[list[Delivery]]:
        """Deliveries as they come, in order; never an empty list. Settle each of them; nothing is acknowledged by itself."""
        while True:
            item = await self._queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    async def settle(self, acks: Sequence[int], nacks: Sequence[Nack] = ()) -> None:
        """Acknowledges and gives back by position.

        A position whose lease was lost meanwhile is passed over: it is delivered again. Returns when the answer is on its way, or
        gathers for a moment with the next ones, not when it is on the bus's disk: losing it means another delivery, never a lost
        event.
        """
        self._settled += [position for position in acks if self._held.pop(position, None) is not None]
        if self._late:
            self._named += [position for position in acks if self._late.pop(position, None) is not None]
        given_back = [nack for nack in nacks if self._let_go(nack.position)]
        if given_back or len(self._settled) + len(self._named) > self._gathered:
            await self._tell(given_back)
        elif self._telling is None and (self._settled or self._named):
            self._telling = asyncio.create_task(self._tell_later())

    async def _tell_later(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        self._telling = None
        await self._tell()

    async def _tell(self, given_back: Sequence[Nack] = ()) -> None:
        """Tells the bus what was settled, and gives back."""
        settled, self._settled = self._settled, []
        named, self._named = self._named, []
        request = pb.PullRequest(
            fencing_token=self._token,
            ack=named,
            nacks=[nack_message(nack) for nack in given_back],
            credit_events=len(settled) + len(named) + len(given_back),
        )
        if settled and (not self._held or next(iter(self._held)) > max(settled)):
            request.ack_up_to = max(settled)
        else:
            request.ack.extend(settled)
        if request.credit_events:
            await self._write(request)

    def keep(self) -> None:
        """Holds what is held for ten minutes from now: whoever handles it has not hung but waits, e.g. for room on the disk."""
        now = self._clock.monotonic()
        self._held = dict.fromkeys(self._held, now)
        self._late = dict.fromkeys(self._late, now)

    async def ack(self, event: Event) -> None:
        """Acknowledges one event."""
        await self.settle([event.position])

    async def nack(self, event: Event, *, retry_after: timedelta | None = None, park: bool = False, error: str = "") -> None:
        """Gives one event back: to be delivered again after `retry_after` (None: the subscription's backoff), or parked."""
        await self.settle((), [Nack(event.position, retry_after, park, error)])

    async def _acknowledge_later(self, position: int) -> None:
        if position not in self._held and position not in self._late:
            return
        now = self._clock.monotonic()
        if not self._unsent:
            self._unsent_since = now
        self._unsent.append(position)
        if len(self._unsent) >= _ACK_AFTER_EVENTS or now - self._unsent_since >= _ACK_AFTER_SECONDS:
            await self._flush()

    async def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        await self.settle(unsent)

    async def _define(self) -> None:
        """Makes the subscription, or gives it this definition when it stands with another one."""
        backoff = Backoff()
        while True:
            try:
                with until_closed():
                    await self._stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=self._definition))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                    await self._redefine()
                elif is_final(error):
                    raise refusal_of(error) from error
                else:
                    await asyncio.sleep(backoff.wait())
                    continue
            return

    async def _redefine(self) -> None:
        request = pb.UpdateSubscriptionRequest(name=self._definition.name, subscription=self._definition)
        backoff = Backoff()
        while True:
            try:
                with until_closed():
                    await self._stub.UpdateSubscription(request)
            except grpc.aio.AioRpcError as error:
                if is_final(error):
                    raise refusal_of(error) from error
                await asyncio.sleep(backoff.wait())
                continue
            return

    async def _pull_forever(self) -> None:
        """Reads the stream, and opens another one when it breaks; ends when the member left or must not come back."""
        backoff = Backoff()
        while True:
            try:
                with until_closed():
                    if await self._pull(backoff):
                        return
            except Refusal as closed:
                self._queue.put_nowait(closed)
                return
            except grpc.aio.AioRpcError as error:
                if is_final(error):
                    self._queue.put_nowait(refusal_of(error))
                    return
            except TimeoutError:
                # a stalled stream: the server may be frozen, or the connection half open
                pass
            finally:
                self._forget_leases()
            await asyncio.sleep(backoff.wait())

    async def _pull(self, backoff: Backoff) -> bool:
        """One stream from joining to its end; True when it ended in good order."""
        call = self._stub.Pull()
        try:
            opening = pb.PullRequest(subscription=self._definition.name, credit_events=self._credit)
            opening.heartbeat.FromTimedelta(timedelta(seconds=_HEARTBEAT_SECONDS))
            await call.write(opening)
            self._call = call
            while True:
                async with asyncio.timeout(_STALLED_SECONDS):
                    response = await call.read()
                    if not isinstance(response, pb.PullResponse):
                        return True
                    backoff.reset()
                    await self._receive(response)
        finally:
            self._call = None
            call.cancel()

    async def _receive(self, response: pb.PullResponse) -> None:
        if response.fencing_token != self._token:
            lost = len(self._held) + len(self._late) + len(self._settled) + len(self._named)
            self._forget_leases()
            self._token = response.fencing_token
            if lost:
                # it is never answered, so the credit that it took would be gone
                await self._write(pb.PullRequest(fencing_token=self._token, credit_events=lost))
        if not response.events:
            return
        now, positions = self._clock.monotonic(), response.positions
        if positions[0] > self._newest:
            # a message's own events ascend
            self._held.update(dict.fromkeys(positions, now))
        else:
            for position in positions:
                (self._held if position > self._newest else self._late)[position] = now
        self._newest = max(self._newest, positions[-1])
        self._queue.put_nowait(list(map(Delivery, response.events, positions, response.attempts)))

    def _let_go(self, position: int) -> bool:
        """Whether an event was held, which it is no longer."""
        return self._held.pop(position, None) is not None or self._late.pop(position, None) is not None

    def _forget_leases(self) -> None:
        """What was delivered on a broken or fenced stream is delivered again: it must be neither handled nor settled twice."""
        self._held.clear()
        self._late.clear()
        self._newest = 0
        self._unsent.clear()
        self._settled.clear()
        self._named.clear()
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, BaseException):
                self._queue.put_nowait(item)
                return

    async def _extend_forever(self) -> None:
        while True:
            await asyncio.sleep(_EXTEND_SECONDS)
            oldest = self._clock.monotonic() - _LONGEST_HOLD_SECONDS
            extend = [position for position, since in (*self._held.items(), *self._late.items()) if since > oldest]
            if extend:
                await self._write(pb.PullRequest(fencing_token=self._token, extend=extend))

    async def _write(self, request: pb.PullRequest) -> bool:
        """Sends on the current stream; False when there is none, which loses nothing: leases end with their stream."""
        async with self._writing:
            call = self._call
            if call is None:
                return False
            return await written(call, request)
