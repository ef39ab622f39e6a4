"""The bus on JetStream when something there is not as it was left: NATS away or full, a stream or a subscription that is gone."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb

from bus.deliveries import Changes, Dead
from bus.jetstream import bucket
from bus.jetstream.bucket import Bucket, Change
from bus.jetstream.connection import Connection, Unreachable
from bus.ranges import AckState
from bus.storage import Closed, DiskFull, NoSubscription, Some, Stored
from tests.conformance.asking import LONG, next_answer
from tests.integration.bus_bench import PATIENCE, Puller, event, running_bus
from tests.integration.test_jetstream import Opened, client_of
from tests.peers.nats import NatsPeer, running_nats
from tests.support.waiting import until


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsPeer]:
    """One NATS server; each test has a stream of its own."""
    with running_nats(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
def settings(peer: NatsPeer) -> dict[str, str]:
    """The environment of a bus with a stream of its own."""
    return peer.settings(f"t{uuid4().hex}")


async def test_what_waits_behind_a_refused_publish_is_refused_with_it(tmp_path: Path, leap: Callable[[float], None]) -> None:
    """It may be the next one on the same stream, and must not be stored before the other one comes again."""
    with running_nats(tmp_path) as own:
        async with Opened(own.settings("t"))() as opened:
            own.servers[0].kill()
            first = opened.log.submit(opened.log.intake.events([event(1)]))
            await until(lambda: not opened.log._writer._waiting)
            second = opened.log.submit(opened.log.intake.events([event(2)]))
            while not first.done():
                leap(60)
                await asyncio.sleep(0.01)
            assert second.done()
            for each in (first, second):
                with pytest.raises(Closed):
                    await each
            own.servers[0].start()
            await asyncio.to_thread(own.servers[0].wait_ready)


async def test_a_subscription_beyond_the_end_of_the_stream_goes_on_there(tmp_path: Path, settings: dict[str, str]) -> None:
    """Somebody deleted the stream, or brought an older one back: what comes at its end is news and not what was settled once."""
    async with running_bus(tmp_path, settings) as bus:
        await bus.subscribe()
        await bus.publish(*(event(number) for number in range(1, 6)))
        puller = await Puller(bus.stub).open()
        await puller.take(5)
        await puller.say(ack=[1, 2, 4, 5], nacks=[pb.Nack(position=3, retry_after=LONG)])
        await next_answer(puller.call, lambda each: each.acks_committed == 4)
    async with client_of(settings) as client:
        await client.jetstream(timeout=60).delete_stream(settings["TOOLOO_BUS_NATS_STREAM"])
    async with running_bus(tmp_path, settings) as bus:
        await bus.publish(*(event(number) for number in range(11, 17)))
        puller = await Puller(bus.stub).open()
        assert await puller.take(6) == [(position, 1) for position in range(1, 7)]


async def test_a_subscription_that_was_deleted_meanwhile_is_said_to_be_gone(settings: dict[str, str]) -> None:
    """Whatever an operator was doing with it."""
    async with Opened(settings)() as opened:
        store = opened.store
        for change in (store.set_paused("gone", True), store.move("gone", 1), store.drop("gone", None)):
            with pytest.raises(NoSubscription):
                await change


async def test_a_lease_that_finds_no_room_is_renewed_when_there_is_some(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus that renews it no more is taken for gone, and one that stops then stops as always."""
    async with Opened({**settings, "TOOLOO_BUS_NATS_LEASE": "300ms"})() as opened:
        update, refused = Bucket.update, list[str]()

        async def full(self: Bucket, key: str, *args: Any) -> int:
            if len(refused) < 2:
                refused.append(key)
                raise DiskFull
            return await update(self, key, *args)

        states = opened.store._bucket
        standing = await states.get("owner")
        monkeypatch.setattr(Bucket, "update", full)
        async with asyncio.timeout(PATIENCE):
            while await states.get("owner") == standing:
                pass
        assert refused == ["owner", "owner"]
        refused.clear()
    assert set(refused) == {"owner"}


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
async def test_a_redrive_that_is_cut_off_between_two_batches_loses_no_letter(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Large events need several; each event is a letter still, or is given out again."""
    positions = [1, 2, 3, 4, 5, 6]
    async with Opened(settings)() as opened:
        await opened.log.publish([event(number) for number in positions])
        await opened.store.insert(Stored("reader", b"", False, AckState(0), 0))
        changes = Changes()
        for position in positions:
            changes.bury(Dead(position, "services/bus", "parked", 1, "no"), keep=True)
        await opened.store.apply("reader", 6, b"", changes, lambda _: 0, 0)
        monkeypatch.setattr(bucket, "_BATCH_BYTES", 400)
        update, left = Bucket.update, [None] * batches

        async def killed(self: Bucket, *args: Any) -> int:
            if not left:
                raise Closed
            left.pop()
            return await update(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "update", killed)
            with suppress(Closed):
                await opened.store.redrive("reader", Some(None, 0, 500, 1_000_000), 0)
    async with Opened(settings)() as opened:
        letters = await opened.store.dead_letters("reader", 0, 100, 1_000_000)
        retries = await opened.store.retries("reader", lambda *_: 0.0)
        assert {*(letter.position for letter in letters), *(retry.position for retry in retries)} == set(positions)


async def test_a_sweep_that_nats_does_late_leaves_what_was_written_since(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request was given up, and NATS, which had only been slow, does it when the key has a value again."""
    async with Opened(settings)() as opened:
        states, late = opened.store._bucket, list[tuple[str, Any]]()
        revision = await states.update("subscription.a", b"1", 0, [Change("letter.a.1", b"first")])
        ask = Connection.api

        async def slow(self: Connection, call: str, body: Any = None) -> Any:
            if call.startswith("STREAM.PURGE") and not late:
                late.append((call, body))
                raise Unreachable("NATS does not answer now")
            return await ask(self, call, body)

        monkeypatch.setattr(Connection, "api", slow)
        revision = await states.update("subscription.a", b"2", revision, [Change("letter.a.1", None)])
        await states.update("subscription.a", b"3", revision, [Change("letter.a.1", b"second")])
        await opened.log._connection.api(*late[0])
        entry = await states.get("letter.a.1")
        assert entry is not None
        assert entry.value == b"second"
