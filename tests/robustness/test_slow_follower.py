"""Followers that never read: the others are not slowed, the server's memory stays bounded, and nothing is lost."""

from pathlib import Path

import psutil
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.event.v1.event_pb2 import Event

from tests.integration.bus_bench import event
from tests.robustness.bus_process import bus_and_client
from tests.robustness.record import Record
from tests.robustness.traffic import caught_up, follow_into, in_background, read_log, until
from tests.robustness.validate import broken_promises

SLOW = 20
BATCHES = 30
BATCH = 200
MIB = 1024 * 1024
# the ring of recent batches, buffers of connections, what the allocator keeps; 20 queues of 18 MB would be 360 MB
MOST_GROWTH = 150 * MIB


def large(number: int) -> Event:
    """An event of about 3 KB."""
    return event(number, subject=f"s/{number % 8}", **{f"note{n}": "x" * 250 for n in range(12)})


async def test_followers_that_never_read_cost_the_others_nothing(tmp_path: Path) -> None:
    """A follower that reads gets all of it while 20 do not; then one of those begins to read and has missed nothing."""
    record = Record()
    async with bus_and_client(tmp_path) as (bus, client):
        await client.publish([event()], timeout=None)
        calls = [client.stub.Follow(pb.FollowRequest(start=subscription_pb2.StartAt(beginning=True))) for _ in range(SLOW)]
        for call in calls:
            await call.read()
        memory = psutil.Process(bus.running.pid).memory_info().rss
        async with in_background(follow_into(client, record.watch())):
            for number in range(BATCHES):
                await client.publish([large(number * BATCH + n) for n in range(BATCH)], timeout=None)
            record.log = await read_log(client)
            await caught_up(record)
        growth = psutil.Process(bus.running.pid).memory_info().rss - memory
        print(f"{len(record.log)} events, the server grew by {growth / MIB:.0f} MiB")
        assert growth < MOST_GROWTH
        late = record.watch()

        async def reads_at_last() -> bool:
            answer = await calls[0].read()
            assert isinstance(answer, pb.FollowResponse)
            late.hear(answer)
            return late.progress >= len(record.log)

        await until(reads_at_last)
        for call in calls:
            call.cancel()
        assert broken_promises(record) == {}
