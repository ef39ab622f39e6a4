"""A run whose disk is recorded: what was told when, in the order of the tape, and what a cut at any moment must therefore hold."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tooloo.bus.v1.bus_service_pb2 import PullResponse

from bus import maintenance
from tests.robustness.bus_process import bus_and_client
from tests.robustness.chance import dice
from tests.robustness.faults.disk import Disk
from tests.robustness.on_disk import floor_on_disk, is_sound, log_on_disk
from tests.robustness.record import Membership, Publisher, Record
from tests.robustness.traffic import in_background, make_subscription, publish_until, pull_into, read_log, until
from tests.robustness.validate import broken_promises

PUBLISHERS = 3
PUBLISHES = 60
# every sync is held back a little, so that an acknowledgement that does not wait for it comes before it on the tape
HOLD_SECONDS = 0.003
SETTINGS = {
    "TOOLOO_BUS_CHECKPOINT_INTERVAL": "50ms",
    "TOOLOO_BUS_WAL_LIMIT_BYTES": str(1024 * 1024),
    # a file of zeros that every cut would have to write again
    "TOOLOO_BUS_BALLAST_BYTES": str(1024 * 1024),
}


class TapedPublisher(Publisher):
    """A publisher that notes at which point of the tape it was told."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self.marks: list[int] = []

    def acknowledge(self, positions: Sequence[int]) -> None:
        """Notes where the batch sent last stands, and when that was."""
        super().acknowledge(positions)
        self.marks.append(self._disk.taped)

    def until(self, moment: int) -> Publisher:
        """The same as it stood at a point of the tape: what was told later had not been told."""
        told = sum(mark <= moment for mark in self.marks)
        return Publisher(self.sent, [*self.positions[:told], *(None for _ in self.sent[told:])])


class TapedMembership(Membership):
    """A subscription that notes at which point of the tape it was told a floor."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self.marks: list[int] = []
        # deliveries so far at each mark
        self._handled: list[int] = []

    def hear(self, message: PullResponse, floor_before: int) -> None:
        """Notes a message, and when it came."""
        super().hear(message, floor_before)
        self.marks.append(self._disk.taped)
        self._handled.append(len(self.handled))

    def made(self) -> None:
        """Notes that the bus has acknowledged the subscription itself."""
        self.floors.append(0)
        self.marks.append(self._disk.taped)
        self._handled.append(0)

    def until(self, moment: int) -> Membership:
        """The same as it stood at a point of the tape."""
        heard = sum(mark <= moment for mark in self.marks)
        return Membership(floors=self.floors[:heard], handled=self.handled[: self._handled[heard - 1]] if heard else [])


@dataclass
class Tape:
    """A recorded run."""

    disk: Disk
    publishers: list[TapedPublisher]
    members: TapedMembership
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def told(self, moment: int) -> Record:
        """What had been told at a point of the tape."""
        record = Record(publishers=[publisher.until(moment) for publisher in self.publishers])
        record.memberships = [self.members.until(moment)]
        return record

    def check(self, moment: int, file: Path) -> None:
        """Opens what a cut left and compares it with what had been told by then."""
        told = self.told(moment)
        promised = bool(told.memberships[0].floors)
        if findings := maintenance.verify(file):
            # before the first promise the file may be unmade, as long as it can be opened
            if promised or not is_sound(file):
                self.corrupt += [f"{moment}: {finding}" for finding in findings]
            return
        told.log = log_on_disk(file)
        members = told.memberships[0]
        if promised:
            members.again = [(members.floor, floor_on_disk(file, "reader") + 1)]
        # what was not handled yet is no business of a cut
        members.dead = [stored.position for stored in told.log]
        self.lost += [f"{moment}: {found}" for all_found in broken_promises(told).values() for found in all_found]
        self.seen.update(events=len(told.log) > 0, floors=members.floor > 0)


async def record_run(folder: Path, env: Mapping[str, str] | None = None) -> Tape:
    """Publishers and a member work on a bus that is killed once in between; everything its disk was told is on the tape."""
    disk = Disk(folder / "scratch", folder / "var" / "bus", taped=True)
    disk.slow_down(HOLD_SECONDS)
    tape = Tape(disk, [TapedPublisher(disk) for _ in range(PUBLISHERS)], TapedMembership(disk))
    chance = dice("power cut, traffic")
    stop = asyncio.Event()
    async with bus_and_client(folder / "var", {**disk.env(), **SETTINGS, **(env or {})}) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]}, order_by_subject=True)
        tape.members.made()
        publishing = [publish_until(stop, client, publisher, chance) for publisher in tape.publishers]

        async def published(count: int) -> bool:
            return all(len(publisher.marks) >= count for publisher in tape.publishers)

        async with in_background(pull_into(client, "reader", tape.members)), in_background(*publishing) as publishers:
            await until(lambda: published(PUBLISHES // 2))
            with disk.deadly():
                await bus.ended()
            await bus.start()
            await until(lambda: published(PUBLISHES))
            stop.set()
            await asyncio.gather(*publishers)
            end = len(await read_log(client))

            async def settled() -> bool:
                return tape.members.floor >= end

            await until(settled)
        await bus.stop()
    return tape
