"""Whatever an event holds, those who hear it go on: the bus takes events from anyone, and binary callers may write any value."""

from random import Random
from typing import Any

from tooloo.bus.v1 import bus_service_pb2 as bus
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub

from mesh.catalogue import SERVICES
from tests.fuzz.messages import Requests
from tests.fuzz.world import Known
from tests.support.mesh import Mesh, eventually

_AT_A_TIME = 100
_SERVICES = {spec.name for spec in SERVICES}


async def test_events_at_random_are_heard_by_all(mesh: Mesh, known: Known, cases: int, seed: int) -> None:
    """Every service is through with all of them; that none failed and none ended, the logs say at the end."""
    requests = Requests(Random(seed), known)
    events = [requests.event() for _ in range(cases)]
    async with mesh.channel() as channel:
        stub = EventBusStub(channel)
        for start in range(0, cases, _AT_A_TIME):
            await stub.Publish(bus.PublishRequest(events=events[start : start + _AT_A_TIME]))

        async def waiting() -> dict[str, int]:
            listed: Any = await stub.ListSubscriptions(bus.ListSubscriptionsRequest())
            return {each.name: each.backlog for each in listed.subscriptions if each.name in _SERVICES and each.backlog}

        await eventually(waiting, lambda backlog: not backlog, seconds=120)
    print(f"{cases} events, seed {seed}")
