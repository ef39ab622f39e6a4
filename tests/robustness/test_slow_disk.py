"""A disk whose syncs are slow, hang or fail: nothing is lost, reads go on, and a sync that failed ends the process."""

import asyncio
from pathlib import Path

import pytest

from bus import maintenance
from bus.writer import EXIT_DISK_FAILED
from mesh.follow import BusClient
from tests.integration.bus_bench import event
from tests.robustness.bus_process import bus_and_client
from tests.robustness.chance import dice
from tests.robustness.faults.disk import DATABASE, WAL, Disk
from tests.robustness.faults.power_cut import play
from tests.robustness.on_disk import put
from tests.robustness.record import Record
from tests.robustness.taped import SETTINGS, Tape, TapedMembership, TapedPublisher
from tests.robustness.traffic import (
    LONG,
    caught_up,
    follow_into,
    in_background,
    make_subscription,
    publish_until,
    pull_into,
    read_log,
    until,
)
from tests.robustness.validate import broken_promises

CUTS_AFTER_A_FAILURE = 20
SLOW_PUBLISHES = 12


async def test_slow_syncs_lose_nothing(tmp_path: Path) -> None:
    """Syncs of 50 to 300 ms under traffic: every promise holds."""
    chance = dice("slow syncs")
    disk = Disk(tmp_path / "scratch", tmp_path / "var" / "bus")
    record = Record(longest_silence=LONG)
    stop = asyncio.Event()
    async with bus_and_client(tmp_path / "var", disk.env()) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]})
        publishers = [record.publisher() for _ in range(4)]
        readers = [follow_into(client, record.watch()), pull_into(client, "reader", record.membership())]

        async def published(count: int) -> bool:
            disk.slow_down(chance.uniform(0.05, 0.3))
            return sum(len(each.acknowledged) for each in publishers) >= count

        async with in_background(*readers):
            async with in_background(*(publish_until(stop, client, each, chance) for each in publishers)) as publishing:
                await until(lambda: published(SLOW_PUBLISHES))
                disk.slow_down(0)
                stop.set()
                await asyncio.gather(*publishing)
            record.log = await read_log(client)
            await caught_up(record)
        assert await bus.stop() == 0
    assert broken_promises(record) == {}


async def learn_that_the_disk_is_slow(disk: Disk, client: BusClient) -> None:
    """A bus may commit in its loop while the disk is fast; a few slow syncs teach it that this one is not."""
    disk.slow_down(0.05)
    for number in range(5):
        await client.publish([event(number)], timeout=None)
    disk.slow_down(0)


async def test_reads_and_heartbeats_go_on_while_a_sync_hangs(tmp_path: Path) -> None:
    """During one sync that does not end the log is read, a new follower begins and all streams beat; then the publish is told."""
    disk = Disk(tmp_path / "scratch", tmp_path / "var" / "bus")
    record = Record()
    async with bus_and_client(tmp_path / "var", disk.env()) as (_, client):
        await learn_that_the_disk_is_slow(disk, client)
        disk.hold()
        publishing = asyncio.create_task(client.publish([event()], timeout=None))

        async def held() -> bool:
            return disk.holds

        await until(held)
        record.log = await read_log(client)
        watch = record.watch()
        async with in_background(follow_into(client, watch)):

            async def beats() -> bool:
                return len(watch.messages) > 5

            await until(beats)
            await caught_up(record)
            assert not publishing.done()
            assert len(record.log) == 5
            disk.release()
            async with asyncio.timeout(LONG):
                assert await publishing == [6]
            record.log = await read_log(client)
            await caught_up(record)
    assert broken_promises(record) == {}


@pytest.mark.parametrize("of", [WAL, DATABASE], ids=["of the write-ahead log", "of the database"])
async def test_a_failed_sync_ends_the_process_and_nothing_is_acknowledged_after_it(of: int, tmp_path: Path) -> None:
    """EIO once: the process ends with code 74; what was told is there even if the disk dropped all that was not synced."""
    chance = dice("failing sync")
    disk = Disk(tmp_path / "scratch", tmp_path / "var" / "bus", taped=True)
    tape = Tape(disk, [TapedPublisher(disk) for _ in range(2)], TapedMembership(disk))
    stop = asyncio.Event()
    async with bus_and_client(tmp_path / "var", {**disk.env(), **SETTINGS}) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]})
        tape.members.made()
        async with in_background(*(publish_until(stop, client, each, chance) for each in tape.publishers)) as publishing:

            async def published() -> bool:
                return all(len(each.marks) > 5 for each in tape.publishers)

            await until(published)
            disk.fail_sync(of)
            assert await bus.ended() == EXIT_DISK_FAILED
            for cut in range(CUTS_AFTER_A_FAILURE):
                put(tmp_path / f"cut-{cut}", play(disk.tape).cut(chance))
                tape.check(disk.taped, tmp_path / f"cut-{cut}" / "log.db")
            assert (tape.lost, tape.corrupt) == ([], [])
            await bus.start()
            stop.set()
            await asyncio.gather(*publishing)
        record = tape.told(disk.taped)
        record.log = await read_log(client)
        async with in_background(pull_into(client, "reader", record.memberships[0])):
            await caught_up(record)
        assert broken_promises(record) == {}
        assert maintenance.verify(bus.log_file) == []
