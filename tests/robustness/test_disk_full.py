"""A full disk: publishes are refused by name, all else goes on, nothing is lost, and room heals it without any help."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from mesh.errors import Refusal
from mesh.follow import BusClient
from mesh.reconnect import refusal_of
from tests.integration.bus_bench import PATIENCE, event
from tests.robustness.bus_process import bus_and_client
from tests.robustness.faults.full import WAYS, Room, quota
from tests.robustness.record import Publisher, Record
from tests.robustness.traffic import LONG, caught_up, follow_into, in_background, make_subscription, pull_into, read_log, until
from tests.robustness.validate import broken_promises

Way = Callable[[Path, Path], AbstractContextManager[Room]]
LEFT = 512 * 1024
BATCH = 50
COMMITS = 100


def large(number: int) -> Event:
    """An event of some size."""
    return event(number, subject=f"s/{number % 8}", text="x" * 256)


async def publish_until_refused(client: BusClient, publisher: Publisher) -> Refusal:
    """Fills the disk with events; gives the refusal of the first batch that found no room."""
    async with asyncio.timeout(LONG):
        while True:
            batch = [large(number) for number in range(BATCH)]
            publisher.send([one.id for one in batch])
            try:
                answer = await client.stub.Publish(pb.PublishRequest(events=batch), wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                return refusal_of(error)
            publisher.acknowledge(list(answer.positions))


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Somebody reads a snapshot of the log for so long: nothing that is written meanwhile is moved out of the write-ahead log."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM subscriptions").fetchone()
        yield


async def settle_all(client: BusClient, record: Record) -> None:
    """A member handles and settles the whole log, on disk."""
    record.log = await read_log(client)
    members = record.membership()

    async def settled() -> bool:
        return members.floor >= len(record.log)

    async with in_background(pull_into(client, "reader", members)):
        await until(settled, PATIENCE)


@asynccontextmanager
async def full_bus(way: Way, folder: Path, record: Record) -> AsyncIterator[tuple[BusClient, Room, Refusal]]:
    """A bus with a subscription whose disk has been filled up by publishes until one was refused."""
    with way(folder / "scratch", folder / "var") as room:
        async with bus_and_client(folder / "var", room.env, room.before) as (_, client):
            await make_subscription(client, "reader", filter={"types": ["*"]})
            room.fill(LEFT)
            yield client, room, await publish_until_refused(client, record.publisher())


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_disk_refuses_publishes_by_name_and_heals(way: Way, tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED, DISK_FULL, RetryInfo; reads and followers go on; a publish that waits succeeds when there is room."""
    record = Record()
    async with full_bus(way, tmp_path, record) as (client, room, refusal):
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        info, *_ = [detail for detail in refusal.details if isinstance(detail, error_details_pb2.ErrorInfo)]
        assert info.reason == "DISK_FULL"
        assert any(isinstance(detail, error_details_pb2.RetryInfo) for detail in refusal.details)
        assert len(await read_log(client)) == sum(len(ids) for ids, _ in record.publishers[0].acknowledged)
        async with in_background(follow_into(client, watch := record.watch())):
            record.log = await read_log(client)
            await caught_up(record)
            waiting = record.publisher()
            batch = [large(number) for number in range(BATCH)]
            waiting.send([one.id for one in batch])
            publishing = asyncio.create_task(client.publish(batch, timeout=None))
            seen = len(watch.messages)

            async def beats() -> bool:
                return len(watch.messages) > seen + 3

            await until(beats)
            assert not publishing.done()
            room.make_room()
            async with asyncio.timeout(LONG):
                waiting.acknowledge(await publishing)
            record.log = await read_log(client)
            record.membership()
            async with in_background(pull_into(client, "reader", record.memberships[0])):
                await caught_up(record)
        assert broken_promises(record) == {}


@pytest.mark.parametrize("way", WAYS)
async def test_acknowledgements_go_on_while_the_disk_is_full(way: Way, tmp_path: Path) -> None:
    """A member handles and settles the whole log, on disk, while no publish finds room."""
    record = Record()
    async with full_bus(way, tmp_path, record) as (client, _, _):
        await settle_all(client, record)
        refusal = await publish_until_refused(client, record.publisher())
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        record.log = await read_log(client)
        assert broken_promises(record) == {}


async def test_all_else_goes_on_when_nothing_could_be_moved_before(tmp_path: Path) -> None:
    """All that filled the disk still stands in the write-ahead log, and has to find room in the database first."""
    record = Record()
    with quota(tmp_path / "scratch", tmp_path / "var") as room:
        async with bus_and_client(tmp_path / "var", room.env) as (bus, client):
            await make_subscription(client, "reader", filter={"types": ["*"]})
            with reading(bus.log_file):
                room.fill(2 * LEFT)
                refusal = await publish_until_refused(client, record.publisher())
            assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            await settle_all(client, record)
            # more commits than fit into what was left of the write-ahead log: it has to begin anew
            for _ in range(COMMITS):
                await client.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
                await client.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
            assert broken_promises(record) == {}
