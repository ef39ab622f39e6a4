"""The same events published again: at the same time, later, after a kill, with new ones among them. Each is stored once."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from mesh.follow import BusClient
from tests.integration.bus_bench import event
from tests.robustness.bus_process import bus_and_client
from tests.robustness.chance import dice
from tests.robustness.record import Record
from tests.robustness.traffic import caught_up, follow_into, in_background, read_log
from tests.robustness.validate import broken_promises

CALLERS = 16
ROUNDS = 20


async def publish_as_all(client: BusClient, record: Record, batch: Sequence[Event]) -> set[tuple[int, ...]]:
    """Many callers publish the same batch at the same time, each in a request of its own; the positions that they were told."""

    async def one() -> tuple[int, ...]:
        publisher = record.publisher()
        publisher.send([each.id for each in batch])
        while True:
            try:
                answer = await client.stub.Publish(pb.PublishRequest(events=batch), wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                # on a busy machine the first who write find out that the connection to the killed server is gone
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                publisher.acknowledge(answer.positions)
                return tuple(answer.positions)

    return set(await asyncio.gather(*(one() for _ in range(CALLERS))))


async def test_the_same_events_again_are_stored_once_and_told_their_first_position(tmp_path: Path) -> None:
    """Sixteen callers at once, then again after a kill: one position for each id, one delivery of each."""
    chance = dice("duplicates")
    record = Record()
    async with bus_and_client(tmp_path) as (bus, client):
        async with in_background(follow_into(client, record.watch())):
            batches = [[event(n, subject=f"s/{n}") for n in range(chance.randint(1, 5))] for _ in range(ROUNDS)]
            told = [await publish_as_all(client, record, batch) for batch in batches]
            assert all(len(positions) == 1 for positions in told)
            await bus.kill()
            await bus.start()
            chance.shuffle(order := list(range(ROUNDS)))
            for number in order:
                assert await publish_as_all(client, record, batches[number]) == told[number]
            record.log = await read_log(client)
            await caught_up(record)
        assert len(record.log) == sum(len(batch) for batch in batches)
        assert broken_promises(record) == {}


async def test_old_events_among_new_ones_keep_their_places(tmp_path: Path) -> None:
    """A batch that holds old and new ids is answered with both, each old one's first position, and twice in a batch is once."""
    async with bus_and_client(tmp_path) as (_, client):
        old, new, twice = event(1), event(2), event(3)
        assert await client.publish([old], timeout=None) == [1]
        assert await client.publish([new, old, twice, twice], timeout=None) == [2, 1, 3, 3]
        assert [stored.id for stored in await read_log(client)] == [old.id, new.id, twice.id]
