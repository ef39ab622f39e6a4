"""A wall clock that is set back an hour or ahead a day while the bus runs: retries, uniqueness, retention and time stay sane."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf import duration_pb2, timestamp_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus import maintenance
from mesh.follow import BusClient
from tests.integration.bus_bench import Puller, event
from tests.robustness.bus_process import BusProcess, bus_and_client
from tests.robustness.faults.wall_clock import WallClock
from tests.robustness.record import Record
from tests.robustness.traffic import caught_up, follow_into, in_background, make_subscription, pull_into, read_log
from tests.robustness.validate import broken_promises

JUMPS = [timedelta(hours=-1), timedelta(days=1)]
IDS = ["an hour back", "a day ahead"]
SOON = duration_pb2.Duration(nanos=200_000_000)


def stamp(moment: datetime) -> timestamp_pb2.Timestamp:
    """A moment as the contract has it."""
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(moment)
    return made


async def publish(client: BusClient, record: Record, count: int) -> list[Event]:
    """Publishes one by one and notes it."""
    publisher = record.publisher()
    events = [event(number, subject=f"s/{number}") for number in range(count)]
    for one in events:
        publisher.send([one.id])
        publisher.acknowledge(await client.publish([one], timeout=None))
    return events


async def restart(bus: BusProcess) -> None:
    """Kills it and starts it again."""
    await bus.kill()
    await bus.start()


@pytest.mark.parametrize("jump", JUMPS, ids=IDS)
@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["running", "started anew"])
async def test_a_jump_of_the_clock_breaks_no_promise(jump: timedelta, again: bool, tmp_path: Path) -> None:
    """A retry that waits comes soon, ids are still known, times along the log never fall, and so it is after the jump back."""
    clock = WallClock(tmp_path / "scratch")
    record = Record()
    async with bus_and_client(tmp_path / "var", clock.env()) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]})
        begun = datetime.now(UTC)
        first = await publish(client, record, 5)
        puller = await Puller(client.stub).open()
        await puller.take(5)
        await puller.say(ack=[2, 3, 4, 5], nacks=[pb.Nack(position=1, retry_after=SOON)])
        clock.set_off(jump)
        if again:
            puller.call.cancel()
            await restart(bus)
            # what a kill took from the acknowledgements is delivered again, the retry among it
            await client.publish(first, timeout=None)
            puller = await Puller(client.stub).open()
        assert 1 in [position for position, _ in await puller.take(1)] or again
        puller.call.cancel()
        assert await client.publish(first, timeout=None) == [1, 2, 3, 4, 5]
        await publish(client, record, 5)
        clock.set_off(timedelta(0))
        assert await client.publish(first, timeout=None) == [1, 2, 3, 4, 5]
        await publish(client, record, 5)
        record.log = await read_log(client)
        since = await client.stub.ReadEvents(pb.ReadEventsRequest(from_time=stamp(begun), page_size=1000))
        assert [one.position for one in since.events] == list(range(1, 16))
        async with in_background(follow_into(client, record.watch()), pull_into(client, "reader", record.membership())):
            record.memberships[0].dead = [1, 2, 3, 4, 5]
            await caught_up(record)
        assert await bus.stop() == 0
    assert broken_promises(record) == {}
    assert maintenance.verify(bus.log_file) == []


@pytest.mark.parametrize("jump", JUMPS, ids=IDS)
async def test_retention_never_takes_what_is_not_settled_and_a_seek_by_time_finds_its_place(
    jump: timedelta, tmp_path: Path
) -> None:
    """With retention by age a jump of the clock deletes nothing that a subscription still waits for."""
    clock = WallClock(tmp_path / "scratch")
    settings = {"TOOLOO_BUS_RETENTION_AGE": "2h", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}
    record = Record()
    async with bus_and_client(tmp_path / "var", {**clock.env(), **settings}) as (_, client):
        await make_subscription(client, "reader", filter={"types": ["*"]})
        await publish(client, record, 5)
        between = datetime.now(UTC)
        clock.set_off(jump)
        await publish(client, record, 5)
        clock.set_off(timedelta(0))
        await publish(client, record, 5)
        record.log = await read_log(client)
        members = record.membership()
        async with in_background(follow_into(client, record.watch()), pull_into(client, "reader", members)):
            await caught_up(record)
        assert broken_promises(record) == {}
        await make_subscription(client, "later", filter={"types": ["*"]})
        seek = pb.SeekSubscriptionRequest(name="later")
        seek.start.time.CopyFrom(stamp(between))
        moved = (await client.stub.SeekSubscription(seek)).subscription
        # times along the log never fall: what came while the clock was set back counts as stored when it was set
        assert 5 <= moved.ack_floor <= (10 if jump < timedelta(0) else 5)
