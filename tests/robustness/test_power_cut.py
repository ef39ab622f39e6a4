"""Power cuts at random moments of a recorded run: what was acknowledged before the cut is on the disk, and the log is whole.

TOOLOO_CHAOS_CUTS says how many. The controls run the same with less durability and must show what that loses.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.bus_bench import event
from tests.robustness.bus_process import bus_and_client
from tests.robustness.chance import dice, how_many
from tests.robustness.faults.power_cut import cuts
from tests.robustness.on_disk import put
from tests.robustness.taped import SETTINGS, Tape, record_run
from tests.robustness.traffic import caught_up, in_background, make_subscription, pull_into, read_log
from tests.robustness.validate import broken_promises

CUTS = how_many("TOOLOO_CHAOS_CUTS", 120)
CONTROL_CUTS = 40
# of so many cuts one is opened by a real server
SERVED = 60


async def cut_and_check(folder: Path, count: int, env: Mapping[str, str] | None = None) -> tuple[Tape, list[int]]:
    """A run and power cuts of it; the folders of some cuts are kept, by their moment."""
    tape = await record_run(folder, env)
    kept = []
    for number, (moment, files) in enumerate(cuts(tape.disk.tape, count, dice("power cut, cuts")), 1):
        if number % SERVED == 0:
            kept.append(moment)
            put(folder / str(moment) / "bus", files)
        put(folder / "cut", files)
        tape.check(moment, folder / "cut" / "log.db")
    print(f"{count} cuts of {tape.disk.taped / 1e6:.1f} MB: {len(tape.lost)} lost, {len(tape.corrupt)} corrupt, {dict(tape.seen)}")
    return tape, kept


async def serve(tape: Tape, moment: int, folder: Path) -> dict[str, list[str]]:
    """Starts a bus on what a cut left, publishes more, and lets a member handle the rest; gives the promises that broke."""
    record = tape.told(moment)
    members = record.memberships[0]
    async with bus_and_client(folder, SETTINGS) as (_, client):
        # a cut may have come before it was made; made again it is the one that stands
        await make_subscription(client, "reader", filter={"types": ["*"]}, order_by_subject=True)
        publisher = record.publisher()
        more = [event(number) for number in range(3)]
        publisher.send([one.id for one in more])
        publisher.acknowledge(await client.publish(more, timeout=None))
        record.log = await read_log(client)
        async with in_background(pull_into(client, "reader", members)):
            await caught_up(record)
    return broken_promises(record)


async def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """At every cut the log is whole, and every event and every floor that had been told is there; a bus goes on from it."""
    tape, kept = await cut_and_check(tmp_path, CUTS)
    assert (tape.lost, tape.corrupt) == ([], [])
    # most cuts hit a run that had promised something
    assert tape.seen["events"] > CUTS // 2
    assert tape.seen["floors"] > CUTS // 2
    for moment in kept:
        assert await serve(tape, moment, tmp_path / str(moment)) == {}


async def test_control_without_a_sync_per_commit_cuts_lose_events(tmp_path: Path) -> None:
    """synchronous=NORMAL: the file stays whole, but acknowledged events are lost, and this is seen."""
    tape, _ = await cut_and_check(tmp_path, CONTROL_CUTS, {"TOOLOO_DISK_SYNCHRONOUS": "NORMAL"})
    assert tape.lost
    assert tape.corrupt == []


@pytest.mark.slow
async def test_control_without_any_sync_cuts_destroy_the_file(tmp_path: Path) -> None:
    """synchronous=OFF: the file is damaged, and this is seen."""
    tape, _ = await cut_and_check(tmp_path, CONTROL_CUTS, {"TOOLOO_DISK_SYNCHRONOUS": "OFF"})
    assert tape.corrupt
