"""What the tests of the bus share: a running bus with its stub, events to publish, and a way to pull by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf import timestamp_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub
from tooloo.event.v1.event_pb2 import Event
from tooloo.system.v1 import system_events_pb2

from bus.__main__ import build
from mesh import testing
from mesh.ids import new_id

if TYPE_CHECKING:
    # the stub exists for type checkers only, and grpcio's classes are generic for them alone
    import grpc
    from tooloo.bus.v1.bus_service_pb2_grpc import EventBusAsyncStub

# short waits, and little room kept back on the disk: each test has a log of its own
FAST = {"TOOLOO_BUS_BACKOFF": "10ms", "TOOLOO_BUS_HEARTBEAT": "100ms", "TOOLOO_BUS_BALLAST_BYTES": "1048576"}
PATIENCE = 60.0


def event(number: int = 0, *, subject: str = "services/bus", kind: str = "started", event_id: str = "", **attributes: str) -> Event:
    """A service.started (or service.stopped) event whose pid is `number`."""
    made = Event(
        id=event_id or new_id(),
        type=f"service.{kind}",
        source="system",
        subject=subject,
        time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        attributes=attributes,
    )
    if kind == "started":
        made.data.Pack(system_events_pb2.ServiceStarted(service="bus", process="bus-0", pid=number))
    else:
        made.data.Pack(system_events_pb2.ServiceStopped(service="bus", process=f"bus-{number}"))
    return made


def number_of(found: Event) -> int:
    """The number that event() was given."""
    if found.type == "service.stopped":
        stopped = system_events_pb2.ServiceStopped()
        found.data.Unpack(stopped)
        return int(stopped.process.removeprefix("bus-"))
    started = system_events_pb2.ServiceStarted()
    found.data.Unpack(started)
    return started.pid


class Served(Protocol):
    """A bus that is reached over a channel and can be started anew on what it stored."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to it; made anew by a restart."""

    @property
    def address(self) -> str:
        """Where it listens."""

    async def restart(self) -> None:
        """Stops without draining and starts again."""

    async def drain(self) -> None:
        """Begins to drain."""


class BusBench:
    """A running bus."""

    def __init__(self, bench: Served) -> None:
        self.bench = bench

    @property
    def stub(self) -> EventBusAsyncStub:
        """A stub on the current channel."""
        return EventBusStub(self.bench.channel)

    @property
    def address(self) -> str:
        """Where the bus listens."""
        return self.bench.address

    async def publish(self, *events: Event) -> list[int]:
        """Publishes in one request; gives the positions."""
        return list((await self.stub.Publish(pb.PublishRequest(events=events))).positions)

    async def subscribe(self, name: str = "reader", **definition: Any) -> subscription_pb2.Subscription:
        """Makes a subscription from the beginning."""
        wanted = subscription_pb2.Subscription(name=name, **definition)
        if not wanted.HasField("start"):
            wanted.start.beginning = True
        return (await self.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted))).subscription

    async def standing(self, name: str = "reader") -> subscription_pb2.Subscription:
        """The subscription as it stands."""
        return (await self.stub.GetSubscription(pb.GetSubscriptionRequest(name=name))).subscription

    async def settled(self, floor: int, name: str = "reader") -> subscription_pb2.Subscription:
        """Waits until everything up to `floor` is settled."""
        async with asyncio.timeout(PATIENCE):
            while True:
                now = await self.standing(name)
                if now.ack_floor >= floor:
                    return now
                await asyncio.sleep(0.01)


class Puller:
    """A member of a subscription, driven by hand."""

    def __init__(self, stub: EventBusAsyncStub, name: str = "reader", credit: int = 100) -> None:
        self.call: Any = stub.Pull()
        self.token = 0
        self._opening = pb.PullRequest(subscription=name, credit_events=credit)

    async def open(self) -> Puller:
        """Joins and takes the token."""
        await self.call.write(self._opening)
        async with asyncio.timeout(PATIENCE):
            self.token = (await self.call.read()).fencing_token
        return self

    async def answer(self) -> pb.PullResponse:
        """The next message, whatever it is."""
        async with asyncio.timeout(PATIENCE):
            response: pb.PullResponse = await self.call.read()
        return response

    async def take(self, count: int) -> list[tuple[int, int]]:
        """The next `count` deliveries as (position, attempt)."""
        found: list[tuple[int, int]] = []
        while len(found) < count:
            response = await self.answer()
            self.token = response.fencing_token
            found.extend(zip(response.positions, response.attempts, strict=True))
        return found

    async def say(self, **parts: Any) -> None:
        """Sends one message under the current token."""
        await self.call.write(pb.PullRequest(**{"fencing_token": self.token, **parts}))


@asynccontextmanager
async def running_bus(folder: Path, settings: Mapping[str, str] = FAST) -> AsyncIterator[BusBench]:
    """A bus on files under `folder`."""
    async with testing.running("bus", build, folder, settings={**FAST, **settings}) as bench:
        yield BusBench(bench)
