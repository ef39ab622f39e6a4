"""kill -9 of the bus under load: nothing acknowledged is lost or stored twice, order holds, clients come back by themselves."""

import asyncio
import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tooloo.bus.v1 import bus_service_pb2 as pb

from bus import maintenance
from mesh.follow import BusClient
from tests.integration.bus_bench import event
from tests.robustness.bus_process import BusProcess
from tests.robustness.validate import Record, broken_promises

KILLS = int(os.environ.get("TOOLOO_TEST_KILLS", "5"))
SEED = int(os.environ.get("TOOLOO_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
PUBLISHERS = 4
LONG = 120.0


@asynccontextmanager
async def bus_and_client(folder: Path) -> AsyncIterator[tuple[BusProcess, BusClient]]:
    """A bus process and a client of it."""
    with tempfile.TemporaryDirectory(prefix="tooloo-") as sockets:
        bus = BusProcess(folder, Path(sockets))
        client = BusClient(bus.address)
        await bus.start()
        await client.start()
        try:
            yield bus, client
        finally:
            await client.close()
            await bus.kill()


async def publish_until(stop: asyncio.Event, client: BusClient, record: Record, randomness: random.Random) -> None:
    """One publisher: batches of one to five, each published until it is acknowledged."""
    number = 0
    while not stop.is_set():
        batch = [event(number + index, subject=f"s/{randomness.randrange(8)}") for index in range(randomness.randint(1, 5))]
        number += len(batch)
        ids = [one.id for one in batch]
        record.sent.append(ids)
        record.acknowledged.append((ids, await client.publish(batch, timeout=None)))


async def follow_into(client: BusClient, record: Record) -> None:
    """A follower of everything, from the beginning."""
    async for found in client.follow(after_position=0):
        record.followed.append(found.position)


async def handle_into(client: BusClient, record: Record) -> None:
    """A member of a subscription with order by subject."""
    async with client.subscription("reader") as events:
        async for batch in events.batches():
            record.handled.extend(delivery.position for delivery in batch)
            await events.settle([delivery.position for delivery in batch])


async def read_log(client: BusClient) -> list[tuple[int, str, str]]:
    """The whole log."""
    found: list[tuple[int, str, str]] = []
    token = ""
    while True:
        page = await client.stub.ReadEvents(pb.ReadEventsRequest(page_size=1000, page_token=token))
        found.extend((one.position, one.id, one.subject) for one in page.events)
        token = page.next_page_token
        if not token:
            return found


async def caught_up(record: Record, head: int) -> None:
    """Waits until follower and member have seen the whole log."""
    async with asyncio.timeout(LONG):
        while True:
            if len(record.followed) >= head and len(set(record.handled)) >= head:
                return
            await asyncio.sleep(0.05)


async def test_kills_under_load_break_no_promise(tmp_path: Path) -> None:
    """Publishers, a follower and two members work while the bus is killed again and again; then every promise is checked."""
    print(f"seed {SEED}, {KILLS} kills")
    randomness = random.Random(SEED)
    record = Record()
    stop = asyncio.Event()
    async with bus_and_client(tmp_path) as (bus, client):
        readers = [asyncio.create_task(follow_into(client, record))]
        readers += [asyncio.create_task(handle_into(client, record)) for _ in range(2)]
        publishers = [asyncio.create_task(publish_until(stop, client, record, random.Random(SEED + n))) for n in range(PUBLISHERS)]
        for _ in range(KILLS):
            await client.publish([event()], timeout=None)
            await asyncio.sleep(randomness.uniform(0.0, 0.5))
            await bus.kill()
            await bus.start()
        stop.set()
        async with asyncio.timeout(LONG):
            await asyncio.gather(*publishers)
        record.log = await read_log(client)
        await caught_up(record, len(record.log))
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        assert await bus.stop() == 0
        print(f"{len(record.log)} events, {len(record.handled) - len(set(record.handled))} delivered again")
        assert broken_promises(record) == {}
        assert maintenance.verify(bus.log_file) == []


async def test_a_killed_consumer_loses_nothing(tmp_path: Path) -> None:
    """Members whose connection is cut in the middle of a batch give it back; what they settled stays settled."""
    print(f"seed {SEED}")
    randomness = random.Random(SEED)
    record = Record()
    async with bus_and_client(tmp_path) as (bus, client):
        for _ in range(20):
            batch = [event(n, subject=f"s/{n % 8}") for n in range(20)]
            await client.publish(batch, timeout=None)
        record.log = await read_log(client)
        async with asyncio.timeout(LONG):
            while len(set(record.handled)) < len(record.log):
                other = BusClient(bus.address)
                await other.start()
                member = asyncio.create_task(handle_into(other, record))
                await asyncio.sleep(randomness.uniform(0.01, 0.2))
                # the connection goes first, so that the member cannot leave in good order
                await other.close()
                member.cancel()
                await asyncio.gather(member, return_exceptions=True)
        record.followed = [position for position, _, _ in record.log]
        assert broken_promises(record) == {}
        dead = await client.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="reader"))
        assert len(dead.dead_letters) == 0


def test_the_validators_see_what_is_broken() -> None:
    """Each promise's validator finds a run that broke it: a check that cannot fail proves nothing."""
    log = [(1, "a", "s"), (2, "b", "s"), (3, "c", "s")]
    sound = Record(acknowledged=[(["a", "b"], [1, 2])], sent=[["a", "b"]], log=log, followed=[1, 2, 3], handled=[1, 2, 3])
    assert broken_promises(sound) == {}
    cases = {
        "durable": Record(acknowledged=[(["x"], [2])], log=log, followed=[1, 2, 3], handled=[1, 2, 3]),
        "ordered": Record(log=[(1, "a", "s"), (3, "b", "s")], followed=[1, 2], handled=[1, 3]),
        "unique": Record(log=[(1, "a", "s"), (2, "a", "s")], followed=[1, 2], handled=[1, 2]),
        "atomic": Record(sent=[["a", "c"]], log=log, followed=[1, 2, 3], handled=[1, 2, 3]),
        "resumable": Record(log=log, followed=[1, 3], handled=[1, 2, 3]),
        "reliable": Record(log=log, followed=[1, 2, 3], handled=[1, 3]),
        "in_order_of_subject": Record(log=log, followed=[1, 2, 3], handled=[2, 1, 3]),
    }
    for promise, record in cases.items():
        assert list(broken_promises(record)) == [promise]
