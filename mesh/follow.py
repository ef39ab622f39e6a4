"""The easy way to the bus: publish, subscribe and follow with batches, credit, acks, reconnecting and resuming underneath."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub
from tooloo.event.v1.event_pb2 import Event

from mesh.clock import Clock, SystemClock
from mesh.deliveries import Delivery, Nack
from mesh.memory import keep_freed_memory
from mesh.publish import Publisher
from mesh.reconnect import Backoff, is_final, refusal_of, until_closed
from mesh.subscribe import Subscription

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.bus.v1.bus_service_pb2_grpc import EventBusAsyncStub

__all__ = ["BusClient", "Delivery", "Nack", "Subscription"]

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_STALLED_SECONDS = 20.0
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # the bus comes back at the same address: a channel of our own finds it at once
    ("grpc.use_local_subchannel_pool", 1),
    # we try again ourselves, with the same ids, and know when to stop
    ("grpc.enable_retries", 0),
]


class BusClient:
    """A connection to the bus at `target` (e.g. "unix:var/run/bus.sock" or "127.0.0.1:3050"); one per process is enough.

    `channel` instead of a target is used as it is and stays its giver's, e.g. one to a bus in the same process.

    It outlives the server: calls wait and try again while the bus is away, with the same ids, so nothing is lost or stored twice.
    Only refusals that trying again cannot help are raised, as mesh.errors.Refusal.
    """

    def __init__(self, target: str = "", *, channel: grpc.aio.Channel | None = None, clock: Clock | None = None) -> None:
        self._target = target
        self._given = channel
        self._clock = clock or SystemClock()
        self._channel: grpc.aio.Channel | None = None
        self._publisher: Publisher | None = None
        self._stub: EventBusAsyncStub | None = None

    async def start(self) -> None:
        """Opens the channel. Does not wait for the bus."""
        keep_freed_memory()
        self._channel = self._given or grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        self._stub = EventBusStub(self._channel)
        self._publisher = Publisher(self._channel, self._stub)

    async def close(self) -> None:
        """Closes its channel; whoever publishes, follows or iterates over a subscription gets UNAVAILABLE."""
        if self._publisher is not None:
            await self._publisher.close()
        if self._channel is not None and self._given is None:
            await self._channel.close()

    @property
    def stub(self) -> EventBusAsyncStub:
        """The plain stub, for the calls that have no easier form here."""
        if self._stub is None:
            raise RuntimeError("the bus client is not started; await start() first")
        return self._stub

    async def publish(
        self,
        events: Sequence[Event],
        *,
        expected_versions: Mapping[str, int] | None = None,
        timeout: float | None = 10,
    ) -> list[int]:
        """Stores the events, all or none, and gives their positions once they are on disk.

        Tries again with the same ids until acknowledged or `timeout` seconds have passed (None: for ever): then Refusal
        UNAVAILABLE, the outcome is unknown, and publishing the same events again is safe. Concurrent callers share requests.
        """
        if self._publisher is None:
            raise RuntimeError("the bus client is not started; await start() first")
        if not events:
            return []
        return await self._publisher.publish(events, expected_versions, timeout)

    def subscription(
        self,
        name: str,
        types: Sequence[str] = ("*",),
        *,
        where: subscription_pb2.EventFilter | None = None,
        order_by_subject: bool = True,
        start_at_beginning: bool = True,
        start_time: datetime | None = None,
        max_in_flight: int = 0,
    ) -> Subscription:
        """A member of the durable subscription `name`; `async with` it. Another definition under the name is replaced by this.

        `where` restricts further than types: sources, subject prefix, attributes, an expression in CEL.
        Where it begins when it is made: at `start_time`, else at the beginning, or with what is published from now on.
        """
        definition = subscription_pb2.Subscription(
            name=name,
            filter=_filter(types, where),
            order_by_subject=order_by_subject,
            max_in_flight=max_in_flight,
        )
        if start_time is not None:
            definition.start.time.FromDatetime(start_time)
        elif start_at_beginning:
            definition.start.beginning = True
        return Subscription(self.stub, definition, self._clock)

    async def follow(
        self,
        *,
        after_position: int | None = None,
        types: Sequence[str] = ("*",),
        where: subscription_pb2.EventFilter | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Events live, each with its position, with no gap and no repeat over reconnects. None: from now; 0: from the beginning."""
        position = after_position
        backoff = Backoff()
        while True:
            with until_closed():
                call = self.stub.Follow(_follow_request(position, _filter(types, where)))
            try:
                while True:
                    with until_closed():
                        async with asyncio.timeout(_STALLED_SECONDS):
                            response = await call.read()
                    if not isinstance(response, pb.FollowResponse):
                        break
                    backoff.reset()
                    for event in response.events:
                        yield event
                        position = event.position
                    position = response.progress_position
            except grpc.aio.AioRpcError as error:
                if is_final(error):
                    raise refusal_of(error) from error
            except TimeoutError:
                # a stalled stream: the server may be frozen, or the connection half open
                pass
            finally:
                call.cancel()
            await asyncio.sleep(backoff.wait())


def _filter(types: Sequence[str], where: subscription_pb2.EventFilter | None) -> subscription_pb2.EventFilter:
    wanted = subscription_pb2.EventFilter(types=types)
    if where is not None:
        wanted.MergeFrom(where)
    return wanted


def _follow_request(position: int | None, wanted: subscription_pb2.EventFilter) -> pb.FollowRequest:
    request = pb.FollowRequest(filter=wanted, stamp_positions=True)
    if position is not None:
        request.start.after_position = position
    return request
