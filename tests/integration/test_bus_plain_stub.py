"""Plain generated stubs in a bare environment, used as their documentation reads: correct service without any helper of ours."""

import asyncio
import json
from pathlib import Path

from tests.integration.bus_bench import running_bus
from tests.support.bare import CONTRACTS, BareEnvironment

# the blocking stubs, for that is what a stranger's first program uses
CALLER = """
import json, queue, sys, uuid
import grpc
from tooloo.bus.v1 import bus_service_pb2 as bus, subscription_pb2
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub
from tooloo.event.v1.event_pb2 import Event
from tooloo.system.v1.system_events_pb2 import ServiceStarted

def event(number):
    made = Event(id=str(uuid.uuid4()), type="service.started", source="system", subject="tests/plain")
    made.time.GetCurrentTime()
    made.data.Pack(ServiceStarted(service="bus", process="bus-0", pid=number))
    return made

def number_of(event):
    started = ServiceStarted()
    assert event.data.Unpack(started)
    return started.pid

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = EventBusStub(channel)
    told = {}

    first = stub.Publish(bus.PublishRequest(events=[event(1), event(2)]), timeout=20)
    told["published"] = list(first.positions)

    start = subscription_pb2.StartAt(beginning=True)
    follow = stub.Follow(bus.FollowRequest(start=start, stamp_positions=True), timeout=20)
    stub.Publish(bus.PublishRequest(events=[event(3)]), timeout=20)
    told["followed"] = []
    for answer in follow:
        told["followed"] += [[each.position, number_of(each)] for each in answer.events]
        if len(told["followed"]) == 3:
            break
    follow.cancel()

    wanted = subscription_pb2.Subscription(name="plain", start=start)
    wanted.filter.cel = "data.pid != 2"
    stub.CreateSubscription(bus.CreateSubscriptionRequest(subscription=wanted), timeout=20)
    says = queue.SimpleQueue()
    says.put(bus.PullRequest(subscription="plain", credit_events=10))
    told["pulled"] = []
    for answer in stub.Pull(iter(says.get, None), timeout=20):
        told["pulled"] += zip(answer.positions, answer.attempts)
        if answer.events:
            done = len(told["pulled"]) == 2
            says.put(bus.PullRequest(fencing_token=answer.fencing_token, ack=answer.positions, leave=done))
    says.put(None)
    told["floor"] = stub.GetSubscription(bus.GetSubscriptionRequest(name="plain"), timeout=20).subscription.ack_floor

    try:
        stub.Publish(bus.PublishRequest(events=[Event(id="42")]), timeout=20)
    except grpc.RpcError as refused:
        told["refused"] = refused.code().name
print(json.dumps(told))
"""


async def test_a_stranger_publishes_follows_and_pulls(tmp_path: Path) -> None:
    """With acknowledgements that reach the disk, a filter in CEL, and a refusal with its code."""
    elsewhere = await asyncio.to_thread(BareEnvironment, tmp_path, CONTRACTS)
    async with running_bus(tmp_path / "data") as bus:
        told = json.loads(await asyncio.to_thread(elsewhere, CALLER, bus.address))
        assert told == {
            "published": [1, 2],
            "followed": [[1, 1], [2, 2], [3, 3]],
            "pulled": [[1, 1], [3, 1]],
            "floor": 3,
            "refused": "INVALID_ARGUMENT",
        }
        assert (await bus.standing("plain")).members == 0
