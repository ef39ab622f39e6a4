"""The bus on a real NATS server: what it demands before it starts, what it stores there, who owns it, and lost answers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import nats
import pytest
from nats.aio.client import Client
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event
from tooloo.system.v1 import system_events_pb2

from bus.batches import Appended
from bus.jetstream.connection import Connection, DuplicateIds, Outgoing, Unreachable
from bus.jetstream.log import JetStreamLog
from bus.jetstream.opening import open_jetstream
from bus.jetstream.ownership import OwnershipLost
from bus.jetstream.settings import NatsSettings
from bus.jetstream.subscriptions import JetStreamSubscriptionStore
from bus.jetstream.sync import NotSynced
from bus.ranges import AckState
from bus.settings import BusSettings
from bus.storage import Closed, Stored
from mesh.clock import SystemClock
from mesh.ids import new_id
from mesh.reconnect import refusal_of
from mesh.settings import SettingError
from tests.conformance.asking import next_answer
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event, number_of, running_bus
from tests.peers.nats import NatsPeer, running_nats
from tests.support.waiting import turns, until


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsPeer]:
    """One NATS server; each test has a stream of its own."""
    with running_nats(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
def settings(peer: NatsPeer) -> dict[str, str]:
    """The environment of a bus with a stream of its own."""
    return peer.settings(f"t{uuid4().hex}")


@asynccontextmanager
async def client_of(settings: Mapping[str, str]) -> AsyncIterator[Client]:
    """A plain NATS client, as any tool is one."""
    client = await nats.connect(settings["TOOLOO_BUS_NATS_SERVERS"])
    try:
        yield client
    finally:
        await client.close()


class Opened:
    """A log and a store in this process, with what made them give up."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.nats = NatsSettings.load(settings)
        self.lost: list[BaseException] = []
        self.log: JetStreamLog
        self.store: JetStreamSubscriptionStore

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["Opened"]:
        """Opens them for the block."""
        async with AsyncExitStack() as stack:
            opening = open_jetstream(BusSettings(), self.nats, SystemClock(), stack, self.lost.append)
            self.log, self.store = await opening
            yield self


async def test_it_refuses_a_server_that_acknowledges_before_it_syncs(tmp_path: Path) -> None:
    """The refusal says what to change in nats.conf."""
    with running_nats(tmp_path, sync="2m") as lax, pytest.raises(SettingError, match="sync_interval: always"):
        async with running_bus(tmp_path / "bus", lax.settings("t")):
            pass


async def test_it_refuses_when_nobody_tells_how_writes_are_synced(tmp_path: Path, settings: dict[str, str]) -> None:
    """Without a monitoring endpoint nothing is known; the refusal names the setting."""
    settings["TOOLOO_BUS_NATS_MONITORS"] = "http://127.0.0.1:9"
    with pytest.raises(SettingError, match="TOOLOO_BUS_NATS_MONITORS"):
        async with running_bus(tmp_path, settings):
            pass


async def test_it_refuses_a_stream_that_would_drop_events(tmp_path: Path, settings: dict[str, str]) -> None:
    """A stream that stands with limits of its own is not taken for a log."""
    name = settings["TOOLOO_BUS_NATS_STREAM"]
    async with client_of(settings) as client:
        await client.jetstream(timeout=60).add_stream(name=name, subjects=[f"{name}.>"], max_msgs=10)
    with pytest.raises(SettingError, match="max_msgs = 10"):
        async with running_bus(tmp_path, settings):
            pass


async def test_it_refuses_a_way_that_it_does_not_know(tmp_path: Path) -> None:
    """The refusal names the ways."""
    with pytest.raises(SettingError, match="sqlite, jetstream"):
        async with running_bus(tmp_path, {"TOOLOO_BUS_WAY": "kafka"}):
            pass


async def test_a_start_waits_for_as_many_servers_as_shall_keep_each_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, leap: Callable[[float], None]
) -> None:
    """It tries for as long as a setting says, and ends with what the cluster said last."""
    with running_nats(tmp_path, members=3) as peer:
        opening = asyncio.create_task(opened_once({**peer.settings("t", replicas=5), "TOOLOO_BUS_NATS_BOOT_TIMEOUT": "1h"}))
        await until(lambda: opening.done() or caplog.text.count("is not ready: JetStream: no suitable peers") > 1)
        leap(3601)
        with pytest.raises(Unreachable, match="no suitable peers"):
            await opening


@pytest.mark.parametrize("lost", [2, 5, 7, 9, 11, 13])
async def test_a_start_goes_on_after_a_request_that_nobody_answered(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    """As a server that stands still for a moment leaves one: whichever it is, the start is tried again and not given up."""
    publish, sent = Client.publish, 0

    async def lossy(self: Client, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None) -> None:
        nonlocal sent
        sent += 1
        if sent != lost:
            await publish(self, subject, payload, reply=reply, headers=headers)

    monkeypatch.setattr(Client, "publish", lossy)
    async with Opened({**settings, "TOOLOO_BUS_NATS_TIMEOUT": "200ms", "TOOLOO_BUS_NATS_BOOT_TIMEOUT": "60s"})() as opened:
        assert "is not ready: NATS does not answer now" in caplog.text
        assert opened.lost == []


async def opened_once(settings: Mapping[str, str]) -> None:
    """Opens, and closes at once."""
    async with Opened(settings)():
        pass


async def test_an_event_is_one_message_that_any_nats_tool_reads(tmp_path: Path, settings: dict[str, str]) -> None:
    """Subject, message id, sequence and payload say what the event says."""
    prefix = settings["TOOLOO_BUS_NATS_PREFIX"]
    sent = event(7, subject="users/ada lovelace.1")
    async with running_bus(tmp_path, settings) as bus, client_of(settings) as client:
        (position,) = await bus.publish(sent)
        message = await client.jetstream(timeout=60).get_msg(prefix, position)
    assert message.subject == f"{prefix}.service.started.users/ada%20lovelace%2E1"
    assert message.headers is not None
    assert message.headers["Nats-Msg-Id"] == f"{UUID(sent.id)}.system"
    assert Event.FromString(message.data or b"") == sent


async def test_a_message_of_somebody_else_takes_a_position_and_is_passed_over(tmp_path: Path, settings: dict[str, str]) -> None:
    """The bus goes on behind it; readers never see it."""
    prefix = settings["TOOLOO_BUS_NATS_PREFIX"]
    async with running_bus(tmp_path, settings) as bus, client_of(settings) as client:
        await bus.publish(event(1))
        await client.jetstream(timeout=60).publish(f"{prefix}.garbage", b"garbage")
        assert await bus.publish(event(3)) == [3]
        for _ in ("from memory", "from the stream"):
            found = (await bus.stub.ReadEvents(pb.ReadEventsRequest())).events
            assert [(one.position, number_of(one)) for one in found] == [(1, 1), (3, 3)]
            await bus.bench.restart()


async def test_an_answer_that_was_lost_is_found_in_the_stream(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish that NATS stored, and whose acknowledgement never came, is not stored twice and is no repeat."""
    async with Opened(settings)() as opened:
        await opened.log.publish([event(1)])
        publish, lost = Connection.publish, list[int]()

        async def deaf(self: Connection, messages: list[Outgoing]) -> int:
            last = await publish(self, messages)
            if not lost:
                lost.append(last)
                raise Unreachable("the answer was lost")
            return last

        monkeypatch.setattr(Connection, "publish", deaf)
        appended = await opened.log.publish([event(2), event(3)])
        assert (list(appended.positions), appended.duplicates, lost) == ([2, 3], 0, [3])
        assert opened.log.head == 3


async def test_a_repeat_that_nats_alone_would_know_is_told_by_its_position(tmp_path: Path, settings: dict[str, str]) -> None:
    """More events came since than ids are remembered, sooner than NATS forgets; alone, among new ones and after a restart."""
    async with running_bus(tmp_path, {**settings, "TOOLOO_BUS_NATS_UNIQUE_COUNT": "1000"}) as bus:
        first, second, third = event(1), event(2), event(3)
        await bus.publish(first, second, third)
        for _ in range(3):
            await bus.publish(*(event(number) for number in range(400)))
        assert await bus.publish(first) == [1]
        assert await bus.publish(event(4), second) == [1204, 2]
        await bus.bench.restart()
        assert await bus.publish(third) == [3]
        assert await bus.publish(event(5)) == [1205]


async def test_what_a_replica_still_has_of_an_erased_subject_is_not_read(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any replica answers a read, and one that lags has not heard of the erase yet."""
    async with Opened(settings)() as opened:
        log = opened.log
        await log.publish([event(1, subject="a"), event(2, subject="b")])
        log._tail.forget_all()
        stale = await log._stream.read(0, 2, 1_000_000)
        assert [message.sequence for message in stale[0]] == [1, 2]
        await log.erase("a")

        async def lagging(*_: object) -> Any:
            return stale

        monkeypatch.setattr(log._stream, "read", lagging)
        chunk = await log.read(0)
        assert [position for piece in chunk.slices for position in piece.positions] == [2]


async def test_a_single_message_that_nats_takes_for_a_repeat_is_not_taken_for_stored(settings: dict[str, str]) -> None:
    """It says so in a good answer; whoever took that for the new message's would wait for it in vain."""
    async with Opened(settings)() as opened:
        connection = opened.log._connection
        message = Outgoing(f"{opened.nats.prefix}.service.started.a", b"", {"Nats-Msg-Id": "1"})
        assert await connection.publish([message]) == 1
        with pytest.raises(DuplicateIds):
            await connection.publish([message])


@pytest.mark.parametrize("lost", ["1", "2", "3"])
async def test_a_batch_of_which_a_part_was_lost_is_sent_again(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """As when the leader changes in the middle of it: NATS stores nothing, and the bus tries again."""
    publish, dropped = Client.publish, list[str]()

    async def lossy(self: Client, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None) -> None:
        if (headers or {}).get("Nats-Batch-Sequence") == lost and not dropped:
            dropped.append(lost)
            return
        await publish(self, subject, payload, reply=reply, headers=headers)

    async with Opened({**settings, "TOOLOO_BUS_NATS_TIMEOUT": "300ms"})() as opened:
        monkeypatch.setattr(Client, "publish", lossy)
        appended = await opened.log.publish([event(1), event(2), event(3)])
        assert (list(appended.positions), appended.duplicates, dropped) == ([1, 2, 3], 0, [lost])
        assert [number_of(one) for one in (await opened.log.events([1, 2, 3])).values()] == [1, 2, 3]


async def test_nats_away_for_long_is_told_to_publishers(tmp_path: Path, leap: Callable[[float], None]) -> None:
    """UNAVAILABLE after a while; when NATS is back everything goes on, with what was acknowledged."""
    with running_nats(tmp_path) as own:
        async with Opened(own.settings("t"))() as opened:
            await opened.log.publish([event(1)])
            own.servers[0].kill()
            refused = asyncio.create_task(closed(opened.log.publish([event(2)])))
            await turns()
            while not refused.done():
                leap(60)
                await asyncio.sleep(0.01)
            own.servers[0].start()
            await asyncio.to_thread(own.servers[0].wait_ready)
            async with asyncio.timeout(PATIENCE):
                while (position := await published(opened.log, event(3))) is None:
                    pass
            assert number_of((await opened.log.events([position]))[position]) == 3
            assert number_of((await opened.log.events([1]))[1]) == 1


async def closed(publishing: Awaitable[Appended]) -> None:
    """A publish that is refused because NATS is away."""
    with pytest.raises(Closed):
        await publishing


async def test_a_server_that_comes_back_lax_ends_the_bus(tmp_path: Path) -> None:
    """How writes are synced is asked again at each upkeep: without it an acknowledgement is no promise."""
    with running_nats(tmp_path) as own:
        async with Opened(own.settings("t"))() as opened:
            await opened.log.upkeep(lambda: 1)
            own.servers[0].kill()
            own.servers[0].sync = "2m"
            own.servers[0].start()
            await asyncio.to_thread(own.servers[0].wait_ready)
            with pytest.raises(NotSynced, match="sync_interval: always"):
                await opened.log.upkeep(lambda: 1)
            assert isinstance(opened.lost[0], NotSynced)


async def test_nats_without_room_refuses_publishes_by_name_and_goes_on(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED, DISK_FULL; reads and acknowledgements go on, and erasing makes room."""
    with running_nats(tmp_path / "nats", store="8MB") as own:
        async with running_bus(tmp_path / "bus", {**own.settings("t"), "TOOLOO_BUS_NATS_BALLAST_BYTES": "1000000"}) as bus:
            await bus.subscribe()
            bulk = [event(0, subject="bulk", kind="stopped") for _ in range(50)]
            for each in bulk:
                each.data.Pack(system_events_pb2.ServiceStopped(service="x" * 100_000))
            told = None
            for one in bulk * 3:
                one.id = new_id()
                try:
                    await bus.publish(one)
                except grpc.aio.AioRpcError as error:
                    told = refusal_of(error)
                    break
            assert told is not None
            assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
            assert (await bus.stub.GetBusStats(pb.GetBusStatsRequest())).disk_full
            assert (await bus.stub.ReadEvents(pb.ReadEventsRequest(page_size=1))).events
            puller = await Puller(bus.stub, credit=1).open()
            assert await puller.take(1) == [(1, 1)]
            await puller.say(ack=[1])
            await next_answer(puller.call, lambda each: each.acks_committed == 1)
            await bus.stub.EraseSubject(pb.EraseSubjectRequest(subject="bulk"))
            async with asyncio.timeout(PATIENCE):
                while not await accepted(bus, event(1)):
                    pass
            assert not (await bus.stub.GetBusStats(pb.GetBusStatsRequest())).disk_full


async def accepted(bus: BusBench, one: Event) -> bool:
    """Whether there is room for an event."""
    try:
        await bus.publish(one)
    except grpc.aio.AioRpcError as error:
        if refusal_of(error).reason != "DISK_FULL":
            raise
        return False
    return True


async def published(log: JetStreamLog, one: Event) -> int | None:
    """The position of an event; None while NATS is away."""
    try:
        return (await log.publish([one])).positions[0]
    except Closed:
        return None


async def test_another_bus_of_the_name_fences_the_first(settings: dict[str, str]) -> None:
    """The newer owner's writes stand, the older one's are refused and it is told to end."""
    first, second = Opened(settings), Opened(settings)
    async with first():
        await first.log.publish([event(1)])
        await first.store.insert(Stored("reader", b"", False, AckState(0), 0))
        async with second():
            assert [stored.name for stored in await second.store.every()] == ["reader"]
            await second.log.publish([event(2)])
            with pytest.raises(Closed):
                await first.log.publish([event(3)])
            assert isinstance(first.lost[0], OwnershipLost)
            with pytest.raises(Exception, match="wrong last sequence"):
                await first.store.set_paused("reader", True)
            assert (second.log.head, second.lost) == (2, [])
            assert not (await second.store.every())[0].paused


async def test_an_event_that_the_owner_before_stored_last_is_taken_in(settings: dict[str, str]) -> None:
    """What the first bus acknowledged after the second one had looked is neither lost nor overwritten."""
    first, second = Opened(settings), Opened(settings)
    async with first(), second():
        late = event(1)
        await first.log.publish([late])
        appended = await second.log.publish([event(2), late])
        assert (list(appended.positions), appended.duplicates) == ([2, 1], 1)
        assert sorted(await second.log.events([1, 2])) == [1, 2]


async def test_a_bus_of_another_name_waits_until_the_lease_has_run_out(
    settings: dict[str, str], leap: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A standby takes over when the owner has gone, not before."""
    caplog.set_level(logging.INFO, "bus.jetstream.ownership")
    settings |= {"TOOLOO_BUS_NATS_LEASE": "60s", "TOOLOO_BUS_NATS_OWNER": "one"}
    first, second = Opened(settings), Opened({**settings, "TOOLOO_BUS_NATS_OWNER": "two"})

    async def stand_by() -> int:
        async with second():
            return (await second.log.publish([event(2)])).positions[0]

    async with first():
        waiting, renewals = asyncio.create_task(stand_by()), set[int | None]()
        # longer than two leases: the owner renews, so the standby waits
        while caplog.text.count("owned by another bus") < 3:
            leap(1)
            renewals.add(await owner_of(first))
        assert len(renewals) > 3
        assert not waiting.done()
        await first.log.publish([event(1)])
    leap(60)
    async with asyncio.timeout(PATIENCE):
        assert await waiting == 2
    assert first.lost == []


async def owner_of(opened: Opened) -> int | None:
    """The revision of the lease as it stands."""
    standing = await opened.store._bucket.get("owner")
    return standing.revision if standing else None


async def test_where_a_subscription_stands_is_json_in_the_bucket(tmp_path: Path, settings: dict[str, str]) -> None:
    """`nats kv get` shows floor and ranges."""
    bucket = f"KV_{settings['TOOLOO_BUS_NATS_STREAM']}-state"
    async with running_bus(tmp_path, settings) as bus, client_of(settings) as client:
        await bus.subscribe()
        subject = f"$KV.{bucket.removeprefix('KV_')}.subscription.reader"
        message = await client.jetstream(timeout=60).get_last_msg(bucket, subject)
    state: dict[str, Any] = json.loads(message.data or b"")
    assert (state["floor"], state["ranges"], state["paused"]) == (0, [], False)
