"""The writer of acknowledgements, over a store that waits, fails and remembers as the test says: nothing answered is ever lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest

from bus import ack_writer
from bus.ack_writer import AckWriter
from bus.dealing import Dealer
from bus.deliveries import PARKED, Changes, Dead, Policy, Retry
from bus.member import Member
from bus.ranges import AckState
from bus.settings import BusSettings
from bus.storage import DiskFull, QueueFull, SubscriptionStore
from mesh.clock import ManualClock, to_us
from tests.support.waiting import turns

NAME = "reader"
LINGER = 3600.0


@dataclass
class Written:
    """One transaction, and what the store holds after it."""

    floor: int
    settled: list[int]
    dead: dict[int, Dead]
    due_us: dict[int, int]


class Store:
    """Remembers what is written; waits while `open` is not set, and fails with what is next of `failures`."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.failures: list[Exception] = []
        self.tried = 0
        self.open = asyncio.Event()
        self.open.set()
        self.at_work = False

    async def apply(
        self, name: str, floor: int, ranges: bytes, changes: Changes, us_of: Callable[[float], int], now_us: int
    ) -> None:
        """One write; no other is under way."""
        assert name == NAME
        assert not self.at_work
        self.at_work = True
        self.tried += 1
        try:
            await self.open.wait()
        finally:
            self.at_work = False
        if self.failures:
            raise self.failures.pop(0)
        settled = [position for position in range(1, 30) if position in AckState.decode(floor, ranges)]
        due_us = {retry.position: us_of(retry.due) for retry in changes.retries.values()}
        self.written.append(Written(floor, settled, dict(changes.dead), due_us))


class Sleeps:
    """The time that passes for the writer: each sleep is noted, and ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """In the place of asyncio.sleep()."""
        self.asked.append(seconds)
        self.over.clear()
        await self.over.wait()


class Subject:
    """A writer with a dealer of which ten events are out: the even ones with one member, the odd ones with the other."""

    def __init__(self) -> None:
        self.store, self.clock = Store(), ManualClock()
        self.members = [Member(token, 60.0, counts_bytes=False) for token in (1, 2)]
        settings = BusSettings(ack_linger=timedelta(seconds=LINGER))
        self.writer = AckWriter(NAME, cast("SubscriptionStore", self.store), settings, self.clock, self.members)
        self.dealer = Dealer(Policy(order_by_subject=False), AckState(0))
        self.writer.begin(self.dealer)
        self.dealer.scanned(10, [(position, "") for position in range(1, 11)])
        for position in range(1, 11):
            token = 2 - position % 2
            self.dealer.sent(token, self.dealer.take(token, 1, 0.0))

    def ack(self, *positions: int) -> None:
        """Each by the member that holds it; the writer hears of it."""
        for position in positions:
            assert self.dealer.ack(2 - position % 2, [position]) == []
        self.writer.notice()

    def park(self, position: int) -> None:
        """A dead letter."""
        assert self.dealer.nack(2 - position % 2, position, 0.0, retry_after=None, park=True, error="no")
        self.writer.notice()

    @property
    def told(self) -> list[int]:
        """What each member was told of its acknowledgements."""
        return [member.acks_committed for member in self.members]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """With the task that writes."""
        task = asyncio.create_task(self.writer.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def subject() -> Subject:
    """What is tested."""
    return Subject()


@pytest.fixture
async def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    """Time that stands still."""
    sleeps = Sleeps()
    stand_in: Any = type("asyncio", (), {**vars(asyncio), "sleep": staticmethod(sleeps.sleep)})
    monkeypatch.setattr(ack_writer, "asyncio", stand_in)
    return sleeps


async def test_what_is_answered_within_a_moment_is_one_write(subject: Subject, sleeps: Sleeps) -> None:
    """However often somebody answers; members are told when it is on the disk, not before."""
    async with subject.running():
        for position in (1, 2, 3, 7):
            subject.ack(position)
            await turns()
        assert (sleeps.asked, subject.store.tried, subject.told) == ([LINGER], 0, [0, 0])
        subject.store.open.clear()
        sleeps.over.set()
        await turns()
        assert (subject.store.tried, subject.told, subject.writer.floor) == (1, [0, 0], 0)
        subject.store.open.set()
        await turns()
    assert subject.store.written == [Written(3, [1, 2, 3, 7], {}, {})]
    assert (subject.told, subject.writer.floor) == ([3, 1], 3)


async def test_what_is_answered_during_a_write_is_the_next(subject: Subject, sleeps: Sleeps) -> None:
    """It waits for its moment as the first did; then there is nothing to write, and nothing happens."""
    async with subject.running():
        subject.store.open.clear()
        subject.ack(1)
        await turns()
        sleeps.over.set()
        await turns()
        subject.ack(2, 3)
        subject.store.open.set()
        await turns()
        assert ([one.settled for one in subject.store.written], subject.told) == ([[1]], [1, 0])
        sleeps.over.set()
        await turns()
        subject.writer.notice()
        await turns()
    assert [one.settled for one in subject.store.written] == [[1], [1, 2, 3]]
    assert (subject.told, sleeps.asked) == ([2, 1], [LINGER] * 2)


async def test_nothing_new_is_not_written(subject: Subject) -> None:
    """Who waits for everything to be on the disk waits for nothing then."""
    await subject.writer.write()
    subject.ack(1)
    await subject.writer.write()
    await subject.writer.write()
    assert subject.store.tried == 1


@pytest.mark.parametrize(("passed_over", "writes"), [(9_999, 0), (10_000, 1)])
async def test_positions_that_nobody_answers_for_are_written_when_there_are_many(
    subject: Subject, sleeps: Sleeps, passed_over: int, writes: int
) -> None:
    """A filter that wants nothing costs a write for each ten thousand events, not for each."""
    async with subject.running():
        subject.ack(*range(1, 11))
        for last in (10, 10 + passed_over):
            subject.dealer.scanned(last)
            subject.writer.notice()
            await turns()
            sleeps.over.set()
            await turns()
    assert len(subject.store.written) == 1 + writes


async def test_a_full_disk_is_waited_for(subject: Subject, sleeps: Sleeps) -> None:
    """It tries again until there is room; what was answered meanwhile is the next write."""
    subject.store.failures = [DiskFull(), QueueFull(), DiskFull()]
    subject.ack(2)
    writing = asyncio.create_task(subject.writer.write())
    for tries in (1, 2, 3):
        await turns()
        assert (subject.store.tried, len(sleeps.asked), subject.told) == (tries, tries, [0, 0])
        subject.ack(tries + 2)
        sleeps.over.set()
    await writing
    assert (subject.store.written[0].settled, subject.told) == ([2], [0, 1])
    await subject.writer.write()
    assert (subject.store.written[1].settled, subject.told) == ([2, 3, 4, 5], [2, 2])


@pytest.mark.parametrize("disk_full", [False, True])
async def test_whoever_goes_away_in_a_write_takes_nothing_with_him(subject: Subject, sleeps: Sleeps, disk_full: bool) -> None:
    """A dead letter is the only trace of its event, a retry the only one of its wait; other members wait for their counts."""
    if disk_full:
        subject.store.failures = [DiskFull()]
    else:
        subject.store.open.clear()
    subject.ack(1, 2)
    subject.park(3)
    subject.dealer.nack(2, 4, 0.0, retry_after=5.0, park=False, error="later")
    writing = asyncio.create_task(subject.writer.write())
    await turns()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert (subject.store.tried, subject.store.written) == (1, [])
    subject.store.open.set()
    subject.ack(5)
    async with subject.running():
        await turns()
        sleeps.over.set()
        await turns()
    due_us = to_us(subject.clock.now()) + 5_000_000
    assert subject.store.written == [Written(3, [1, 2, 3, 5], {3: Dead(3, "", PARKED, 1, "no")}, {4: due_us})]
    assert subject.told == [2, 1]


async def test_what_waits_when_all_ends_is_written_by_the_last_write(subject: Subject, sleeps: Sleeps) -> None:
    """The task is cancelled while acknowledgements gather, or while it waits for room."""
    subject.store.failures = [DiskFull()]
    async with subject.running():
        subject.park(1)
        await turns()
        sleeps.over.set()
        await turns()
        assert subject.store.tried == 1
        subject.ack(2)
    await subject.writer.write()
    assert [(one.settled, list(one.dead)) for one in subject.store.written] == [([1, 2], [1])]
    assert subject.told == [0, 1]


async def test_what_is_left_over_is_written_though_nobody_answers_any_more(subject: Subject, sleeps: Sleeps) -> None:
    """By a write that was given up, and by a dealer whose place another one took."""
    subject.dealer.ack(1, [1])
    subject.store.failures = [RuntimeError("lost")]
    with pytest.raises(RuntimeError, match="lost"):
        await subject.writer.write()
    async with subject.running():
        await turns()
        sleeps.over.set()
        await turns()
        assert subject.told == [1, 0]
        dealer = Dealer(Policy(), AckState(8))
        dealer.changes = Changes(dead={3: Dead(3, "", PARKED, 1, "no")})
        subject.writer.begin(dealer)
        await turns()
        sleeps.over.set()
        await turns()
    assert [(one.floor, list(one.dead)) for one in subject.store.written] == [(1, []), (8, [3])]


async def test_a_failure_that_waiting_does_not_mend_is_told(subject: Subject) -> None:
    """The next write has it all once more."""
    subject.store.failures = [RuntimeError("lost")]
    subject.park(1)
    with pytest.raises(RuntimeError, match="lost"):
        await subject.writer.write()
    assert subject.writer.floor == 0
    await subject.writer.write()
    assert (subject.writer.floor, list(subject.store.written[0].dead)) == (1, [1])


async def test_writes_follow_each_other(subject: Subject) -> None:
    """Whoever asks while another one writes waits for both: what he answered before is on the disk then."""
    subject.store.open.clear()
    subject.ack(1)
    first = asyncio.create_task(subject.writer.write())
    await turns()
    subject.ack(2)
    second = asyncio.create_task(subject.writer.write())
    await turns()
    assert (subject.store.tried, second.done()) == (1, False)
    subject.store.open.set()
    await asyncio.gather(first, second)
    assert [one.settled for one in subject.store.written] == [[1], [1, 2]]


async def test_a_retry_is_due_by_the_time_of_day(subject: Subject, sleeps: Sleeps) -> None:
    """The dealer's time means nothing after a restart; that the disk was full for a while makes no wait longer."""
    subject.store.failures = [DiskFull()]
    subject.dealer.nack(1, 1, 0.0, retry_after=60.0, park=False, error="later")
    due_us = to_us(subject.clock.now()) + 60_000_000
    writing = asyncio.create_task(subject.writer.write())
    await turns()
    subject.clock.advance(timedelta(seconds=45))
    sleeps.over.set()
    await writing
    assert subject.store.written[0].due_us == {1: due_us}


def test_changes_gathered_later_win() -> None:
    """A retry that was settled since is forgotten, one that waits again since stands; counts add up."""
    first, again = Retry(1, "", 1, 5.0, ""), Retry(2, "", 2, 9.0, "")
    changes = Changes({1: first}, {2}, {3: Dead(3, "", PARKED, 1, "")}, 1, {1: 1})
    changes.add(Changes({2: again}, {1}, {4: Dead(4, "", PARKED, 1, "")}, 2, {1: 1, 2: 1}))
    assert (changes.retries, changes.forgotten) == ({2: again}, {1, 2})
    assert (sorted(changes.dead), changes.settled, changes.acked) == ([3, 4], 3, {1: 2, 2: 1})
