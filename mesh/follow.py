"""The easy way to the bus: publish, subscribe and follow with batches, credit, acks, reconnecting and resuming underneath."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from tooloo.event.v1.event_pb2 import Event

from mesh.clock import Clock, SystemClock
from mesh.deliveries import Delivery, Nack

__all__ = ["BusClient", "Delivery", "Nack", "Subscription"]


class Subscription:
    """One member of a durable subscription: an async context manager and an async iterator.

    Plain iteration gives events; each is acknowledged when the next one is asked for, unless ack() or nack() settled it before.
    batches() gives lists of deliveries that the caller settles by itself with settle(), after its own commit.
    """

    async def __aenter__(self) -> Self:
        """Makes the subscription if it is not there and joins it; waits for the bus as long as it takes."""
        raise NotImplementedError

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Sends what was settled and leaves; what was not settled goes back to the bus."""
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[Event]:
        """Events one by one, acknowledged as the loop goes on."""
        raise NotImplementedError

    def batches(self) -> AsyncIterator[list[Delivery]]:
        """Deliveries as they come, in order; never an empty list. Settle each of them; nothing is acknowledged by itself."""
        raise NotImplementedError

    async def settle(self, acks: Sequence[int], nacks: Sequence[Nack] = ()) -> None:
        """Acknowledges and gives back by position. A position whose lease was lost meanwhile is passed over: it is delivered again."""
        raise NotImplementedError

    async def ack(self, event: Event) -> None:
        """Acknowledges one event."""
        raise NotImplementedError

    async def nack(self, event: Event, *, retry_after: timedelta | None = None, park: bool = False, error: str = "") -> None:
        """Gives one event back: to be delivered again after `retry_after` (None: the subscription's backoff), or parked."""
        raise NotImplementedError


class BusClient:
    """A connection to the bus at `target` (e.g. "unix:var/run/bus.sock" or "127.0.0.1:3050"); one per process is enough.

    It outlives the server: calls wait and try again while the bus is away, with the same ids, so nothing is lost or stored twice.
    Only refusals that trying again cannot help are raised, as mesh.errors.Refusal.
    """

    def __init__(self, target: str, *, clock: Clock | None = None) -> None:
        self._target = target
        self._clock = clock or SystemClock()

    async def start(self) -> None:
        """Opens the channel. Does not wait for the bus."""
        raise NotImplementedError

    async def close(self) -> None:
        """Closes the channel; publishes that wait end with UNAVAILABLE."""
        raise NotImplementedError

    async def publish(
        self, events: Sequence[Event], *, expected_versions: Mapping[str, int] | None = None, timeout: float = 10
    ) -> list[int]:
        """Stores the events, all or none, and gives their positions once they are on disk.

        Tries again with the same ids until acknowledged or `timeout` seconds have passed (Refusal UNAVAILABLE: the outcome is then
        unknown, and publishing the same events again is safe). Concurrent callers share requests.
        """
        raise NotImplementedError

    def subscription(
        self,
        name: str,
        types: Sequence[str] = ("*",),
        *,
        order_by_subject: bool = True,
        start_at_beginning: bool = True,
        max_in_flight: int = 0,
    ) -> Subscription:
        """A member of the durable subscription `name`; `async with` it."""
        raise NotImplementedError

    def follow(self, *, after_position: int | None = None, types: Sequence[str] = ("*",)) -> AsyncIterator[Event]:
        """Events live, each with its position, with no gap and no repeat over reconnects. None: from now; 0: from the beginning."""
        raise NotImplementedError
