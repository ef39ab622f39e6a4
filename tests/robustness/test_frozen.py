"""SIGSTOP: a process that is there and does nothing. Both sides notice, others get its events, and it goes on when it wakes.

`make test` freezes the server once, `make chaos` as often as TOOLOO_CHAOS_FREEZES says.
"""

import asyncio
import signal
from pathlib import Path

from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb

from mesh.follow import BusClient
from tests.integration.bus_bench import event
from tests.robustness.actor import Actor
from tests.robustness.bus_process import bus_and_client
from tests.robustness.chance import dice, how_many
from tests.robustness.record import Membership, Record
from tests.robustness.traffic import (
    LONG,
    caught_up,
    follow_into,
    in_background,
    make_subscription,
    publish_until,
    pull_into,
    read_dead,
    read_log,
    until,
)
from tests.robustness.validate import broken_promises

DEADLINE = duration_pb2.Duration(nanos=300_000_000)
EVENTS = 60
FREEZES = how_many("TOOLOO_CHAOS_FREEZES", 1)


async def test_a_frozen_server_is_noticed_and_loses_nothing(tmp_path: Path) -> None:
    """Followers and members give up the silent streams; when the server wakes, everything goes on where it was."""
    chance = dice("frozen server")
    record = Record(longest_silence=LONG)
    stop = asyncio.Event()
    watch, members = record.watch(), record.membership()
    async with bus_and_client(tmp_path) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]}, order_by_subject=True)
        async with in_background(follow_into(client, watch), pull_into(client, "reader", members)):
            async with in_background(*(publish_until(stop, client, record.publisher(), chance) for _ in range(3))) as publishing:
                for _ in range(FREEZES):
                    heard, stalls = len(members.handled), (watch.stalls, members.stalls)

                    async def goes_on(since: int = heard) -> bool:
                        return len(members.handled) > since + 20

                    await until(goes_on)
                    bus.freeze()

                    async def noticed(before: tuple[int, int] = stalls) -> bool:
                        return watch.stalls > before[0] and members.stalls > before[1]

                    await until(noticed)
                    bus.thaw()
                stop.set()
                async with asyncio.timeout(LONG):
                    await asyncio.gather(*publishing)
            record.log = await read_log(client)
            await caught_up(record)
        assert await bus.stop() == 0
    assert broken_promises(record) == {}


async def publish_some(client: BusClient, record: Record) -> None:
    """Events of many subjects."""
    publisher = record.publisher()
    for number in range(EVENTS):
        batch = [event(number, subject=f"s/{number % 20}")]
        publisher.send([batch[0].id])
        publisher.acknowledge(await client.publish(batch, timeout=None))


async def stalled(client: BusClient) -> bool:
    """Whether the subscription shows that something is not acknowledged for longer than the deadline."""
    standing = (await client.stub.GetSubscription(pb.GetSubscriptionRequest(name="reader"))).subscription
    return bool(standing.oldest_unacknowledged_age.ToTimedelta() > DEADLINE.ToTimedelta())


async def test_the_events_of_a_frozen_consumer_go_to_another_and_its_late_answers_change_nothing(tmp_path: Path) -> None:
    """Its stall shows in the figures; the leases end with their deadline; awake again it repeats at most what it held."""
    record = Record()
    members = record.membership()
    async with bus_and_client(tmp_path) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]}, order_by_subject=True, ack_deadline=DEADLINE)
        async with Actor("consume", bus.address, tmp_path, 0) as consumer:
            # the helper gives the subscription its own definition when it joins, so the deadline is set again after it
            await client.publish([event()], timeout=None)

            async def works() -> bool:
                return bool(consumer.handled())

            await until(works)
            wanted = (await client.stub.GetSubscription(pb.GetSubscriptionRequest(name="reader"))).subscription
            wanted.ack_deadline.CopyFrom(DEADLINE)
            await client.stub.UpdateSubscription(pb.UpdateSubscriptionRequest(name="reader", subscription=wanted))
            consumer.signal(signal.SIGSTOP)
            await publish_some(client, record)
            await until(lambda: stalled(client))
            other = Membership()
            async with in_background(pull_into(client, "reader", other)):
                record.log = await read_log(client)

                async def settled() -> bool:
                    return other.floor >= len(record.log)

                await until(settled)
                handled = len(other.handled)
                consumer.signal(signal.SIGCONT)
                await publish_some(client, record)
                record.log = await read_log(client)
                await until(settled)
                assert len(other.handled) >= handled
        members.handled = sorted([*consumer.handled(), *other.handled], key=lambda one: one.at)
        members.floors, members.again = other.floors, other.again
        members.dead = await read_dead(client, "reader")
    assert members.dead == []
    assert broken_promises(record) == {}
