"""The bus on JetStream under load: the bus is killed, a member of the cluster of three is killed; no promise breaks.

`make test` kills a few times, `make chaos` as often as TOOLOO_CHAOS_JETSTREAM_KILLS and TOOLOO_CHAOS_JETSTREAM_MEMBERS say.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bus.jetstream.opening import EXIT_LOST
from tests.integration.bus_bench import event
from tests.peers.nats import NatsPeer, running_nats
from tests.robustness.bus_process import BusProcess, bus_and_client
from tests.robustness.chance import dice, how_many
from tests.robustness.record import Record, Wanted
from tests.robustness.traffic import (
    LONG,
    caught_up,
    follow_into,
    handle_into,
    in_background,
    make_subscription,
    publish_until,
    pull_into,
    read_log,
    standing,
    until,
)
from tests.robustness.validate import broken_promises

KILLS = how_many("TOOLOO_CHAOS_JETSTREAM_KILLS", 2)
MEMBERS = how_many("TOOLOO_CHAOS_JETSTREAM_MEMBERS", 1)
# a publish that succeeds after a fault shows that everything works again
_MORE = 20


@asynccontextmanager
async def under_load(folder: Path, env: Mapping[str, str], chance: random.Random) -> AsyncIterator[tuple[BusProcess, Record]]:
    """A bus with publishers, followers and members at work; when the block ends they catch up, and the promises are checked."""
    record = Record(longest_silence=LONG)
    stop = asyncio.Event()
    members = record.membership()
    followers = [record.watch(), record.watch(Wanted(["service.stopped"], "s/1")), record.watch(Wanted(["budget.*"]))]
    async with bus_and_client(folder, env) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]}, order_by_subject=True)
        readers = [follow_into(client, watch) for watch in followers]
        async with in_background(*readers, pull_into(client, "reader", members), handle_into(client, "reader", members)):
            async with in_background(*(publish_until(stop, client, record.publisher(), chance, most) for most in (1, 5))) as work:
                await acknowledged(record, _MORE)
                yield bus, record
                stop.set()
                async with asyncio.timeout(LONG):
                    await asyncio.gather(*work)
            record.log = await read_log(client)
            await caught_up(record)
        assert await bus.stop() == 0
    print(f"events, publishes, deliveries again: {standing(record)}")
    assert broken_promises(record) == {}


async def acknowledged(record: Record, more: int) -> None:
    """Waits until so many more publishes are acknowledged."""

    def count() -> int:
        return sum(len(publisher.acknowledged) for publisher in record.publishers)

    goal = count() + more

    async def reached() -> bool:
        return count() >= goal

    await until(reached)


def settings_of(peer: NatsPeer, replicas: int) -> dict[str, str]:
    """The bus on these servers, with waits that suit a test."""
    return {**peer.settings("chaos", replicas), "TOOLOO_BUS_NATS_TIMEOUT": "1s"}


async def test_kills_of_the_bus_in_front_of_jetstream_break_no_promise(tmp_path: Path) -> None:
    """SIGKILL of the bus again and again: the next one takes the log over where NATS has it."""
    chance = dice("jetstream kills")
    with running_nats(tmp_path / "nats") as peer:
        async with under_load(tmp_path / "bus", settings_of(peer, 1), chance) as (bus, record):
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                await bus.kill()
                await bus.start()
                await acknowledged(record, _MORE)


async def test_one_of_three_servers_killed_loses_nothing(tmp_path: Path) -> None:
    """A member is killed while events are published and followed, and comes back; what was acknowledged stays."""
    chance = dice("jetstream cluster")
    with running_nats(tmp_path / "nats", members=3) as peer:
        async with under_load(tmp_path / "bus", settings_of(peer, 3), chance) as (_, record):
            for server in chance.sample(peer.servers, min(MEMBERS, 3)):
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                server.kill()
                await acknowledged(record, _MORE)
                server.start()
                await asyncio.to_thread(server.wait_ready)
                await acknowledged(record, _MORE)


async def test_a_frozen_bus_that_wakes_up_after_another_took_over_ends(tmp_path: Path) -> None:
    """The standby takes the log over when the lease has run out; the first one, awake again, can write nothing and ends."""
    with running_nats(tmp_path / "nats") as peer:
        env = {**settings_of(peer, 1), "TOOLOO_BUS_NATS_LEASE": "1s"}
        async with bus_and_client(tmp_path / "one", {**env, "TOOLOO_BUS_NATS_OWNER": "one"}) as (first, client):
            assert await client.publish([event(1)], timeout=None) == [1]
            first.freeze()
            async with bus_and_client(tmp_path / "two", {**env, "TOOLOO_BUS_NATS_OWNER": "two"}) as (_, other):
                assert await other.publish([event(2)], timeout=None) == [2]
                first.thaw()
                assert await first.ended() == EXIT_LOST
                assert [stored.position for stored in await read_log(other)] == [1, 2]
