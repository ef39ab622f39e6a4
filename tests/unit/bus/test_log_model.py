"""The log against a simple model: publishes, repeats, versions, retention, compaction, erase, full disks, restarts and crashes."""

import asyncio
import shutil
import sqlite3
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus import maintenance
from bus.batches import Appended, VersionConflict
from bus.filters import Filter
from bus.log import Log
from bus.settings import BusSettings
from bus.storage import DiskFull
from mesh.clock import EPOCH, ManualClock
from tests.support.events import id_of, sample

T = TypeVar("T")
KINDS = ("service.started", "service.stopped", "mastery.changed")
SUBJECTS = ("people/ada", "people/bob")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

ONE = st.tuples(st.integers(0, 15), st.sampled_from(SUBJECTS), st.sampled_from(KINDS))
PUBLISH = st.tuples(
    st.lists(ONE, min_size=1, max_size=4), st.none() | st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 6)), st.booleans()
)


@dataclass(frozen=True)
class Told:
    """An event of the model."""

    number: int
    subject: str
    kind: str
    time: datetime


class Model:
    """What a log is: events by position, the newest position of each id and of each subject."""

    def __init__(self, unique_count: int) -> None:
        self.unique_count = unique_count
        self.events: dict[int, Told] = {}
        self.head = self.forgotten = 0
        self.ids: dict[tuple[int, str], int] = {}
        self.versions: dict[str, int] = {}
        # of the newest record: times never fall
        self.time = EPOCH

    def publish(self, events: list[Any], expected: dict[str, int], now: datetime) -> tuple[list[int], int] | dict[str, int]:
        """Positions and duplicates, or the versions that stand in the way."""
        self.time = max(self.time, now)
        floor = max(self.forgotten, self.head - self.unique_count)
        positions: list[int] = []
        fresh: dict[tuple[int, str], Told] = {}
        for number, subject, kind in events:
            key = number, sample(number, kind=kind).source
            known = self.ids.get(key, 0)
            if known <= floor and key not in fresh:
                fresh[key] = Told(number, subject, kind, self.time)
            positions.append(known if known > floor else self.head + 1 + list(fresh).index(key))
        standing = {subject: self.versions.get(subject, 0) for subject in expected}
        wrong = {subject: position for subject, position in standing.items() if position != expected[subject]}
        if fresh and wrong:
            return wrong
        for key, told in fresh.items():
            self.head += 1
            self.events[self.head] = told
            self.ids[key] = self.versions[told.subject] = self.head
        return positions, len(events) - len(fresh)


class LogMachine(RuleBasedStateMachine):
    """A log with small limits, so that all of them are met."""

    @initialize(
        coalesce=st.sampled_from((1, 900, 65536)),
        recent=st.sampled_from((1, 1000, 1 << 24)),
        inline=st.booleans(),
        unique=st.sampled_from((6, 1000)),
        retention=st.sampled_from(({}, {"retention_count": 8}, {"retention_age": DAY}, {"retention_bytes": 2000})),
        by_type=st.booleans(),
    )
    def begin(self, coalesce: int, recent: int, inline: bool, unique: int, retention: dict[str, Any], by_type: bool) -> None:
        """An empty log in a folder of its own."""
        self.loop = asyncio.new_event_loop()
        self.folder = Path(mkdtemp(prefix="log"))
        self.clock = ManualClock(START)
        self.settings = BusSettings(
            coalesce_bytes=coalesce,
            recent_bytes=recent,
            inline_commit=timedelta(seconds=1) if inline else timedelta(0),
            unique_count=unique,
            unique_age=3 * DAY,
            ballast_bytes=0,
            read_bytes=2000,
            retention_types=(f"{KINDS[1]}=36h",) if by_type else (),
            **retention,
        )
        self.model = Model(unique)
        self.seen_times: dict[int, datetime] = {}
        self.path = self.folder / "log.db"
        self.open()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs in the machine's loop."""

        async def in_time() -> T:
            async with asyncio.timeout(60):
                return await work

        return self.loop.run_until_complete(in_time())

    def open(self) -> None:
        """Opens the log where it lies; what it knows of times is that of its newest record."""
        self.model.time = self.times.get(self.model.head, EPOCH)
        self.log = self.run(Log.open(self.path, self.settings, self.clock, failed))

    @rule(publishes=st.lists(PUBLISH, min_size=1, max_size=4))
    def publish(self, publishes: list[Any]) -> None:
        """Publishes that wait together, each with an answer of its own."""
        answers = self.run(self.told(publishes))
        for (events, expected, right), answer in zip(publishes, answers, strict=True):
            said = self.model.publish(events, self.expected(expected, right), self.clock.now())
            if isinstance(answer, VersionConflict):
                assert dict(answer.standing) == said
            else:
                assert isinstance(answer, Appended)
                assert (list(answer.positions), answer.duplicates) == said

    def expected(self, given: tuple[str, int] | None, right: bool) -> dict[str, int]:
        """An expected version, often the one that stood before these publishes."""
        if given is None:
            return {}
        return {given[0]: self.before.get(given[0], 0) if right else given[1]}

    async def told(self, publishes: list[Any]) -> list[Any]:
        """Submits in one turn of the loop, and waits for all."""
        self.before = dict(self.model.versions)
        waiting = [
            self.log.submit(self.log.intake.events([sample(*event) for event in events], self.expected(expected, right)))
            for events, expected, right in publishes
        ]
        return await asyncio.gather(*waiting, return_exceptions=True)

    @rule(publishes=st.lists(PUBLISH, min_size=1, max_size=3))
    def publish_onto_a_full_disk(self, publishes: list[Any]) -> None:
        """Nothing of it is stored, no repeat and no version is remembered, and when there is room again it goes on."""

        def full(_: sqlite3.Connection) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        async def fill() -> list[Any]:
            writing = asyncio.ensure_future(self.told(publishes))
            await asyncio.sleep(0)
            refused = asyncio.ensure_future(self.log.run(full))
            answers = await writing
            await asyncio.gather(refused, return_exceptions=True)
            room = self.log._writer.room
            # not in half a second, but now
            if room._looking_again:
                room._looking_again.cancel()
            room._look_again()
            return answers

        # the job that fails shares the commit of the publishes, or comes before the next ones
        head = self.log.head
        answers = self.run(fill())
        if self.log.head == head and any(isinstance(answer, DiskFull) for answer in answers):
            assert all(isinstance(answer, DiskFull) for answer in answers)
        else:
            for (events, expected, right), answer in zip(publishes, answers, strict=True):
                assert not isinstance(answer, DiskFull)
                self.model.publish(events, self.expected(expected, right), self.clock.now())
        assert not self.log.disk_full

    @rule(hours=st.sampled_from((1, 20, 40, 80)))
    def time_passes(self, hours: int) -> None:
        """The clock moves on."""
        self.clock.advance(timedelta(hours=hours))

    @rule()
    def the_clock_is_set_back(self) -> None:
        """Times of the log never fall with it."""
        self.clock.advance(timedelta(hours=-3))

    @rule(data=st.data())
    def upkeep(self, data: st.DataObject) -> None:
        """Only what a limit names goes, and nothing that someone still needs; ids go by age, whatever became of their events."""
        keep_from = data.draw(st.integers(1, self.model.head + 1))
        now, head = self.clock.now(), self.model.head
        self.run(self.log.upkeep(lambda: keep_from))
        kept = set(self.positions())
        for position in set(self.model.events) - kept:
            told = self.model.events.pop(position)
            assert position < keep_from
            by_age = bool(self.settings.retention_age) and told.time < now - self.settings.retention_age
            by_count = bool(self.settings.retention_count) and position <= head - self.settings.retention_count
            by_type = bool(self.settings.retention_types) and told.kind == KINDS[1] and told.time < now - timedelta(hours=36)
            assert by_age or by_count or by_type or self.settings.retention_bytes
        if self.settings.retention_bytes and keep_from > head:
            chunk = self.run(self.log.read(0, None, 1 << 30))
            assert sum(len(piece.events) for piece in chunk.slices) <= self.settings.retention_bytes
        assert kept <= set(self.model.events)
        self.forget(now)

    def forget(self, now: datetime) -> None:
        """Ids of records that are older than the window: a record is as old as its newest transaction."""
        old = [position for position, time in self.times.items() if time < now - self.settings.unique_age]
        self.model.forgotten = max([self.model.forgotten, *old, self.model.head - self.model.unique_count])

    @property
    def times(self) -> dict[int, datetime]:
        """When each event was stored, those that are gone too."""
        for position, told in self.model.events.items():
            self.seen_times.setdefault(position, told.time)
        return self.seen_times

    @invariant()
    def note_times(self) -> None:
        """Before anything of them goes."""
        if hasattr(self, "model"):
            assert len(self.times) == self.model.head

    @rule(kind=st.sampled_from((*KINDS, "service.*")), hours=st.sampled_from((0, 30)), data=st.data())
    def compact(self, kind: str, hours: int, data: st.DataObject) -> None:
        """Of each type and subject the newest stays, and what is too young, and what someone still needs."""
        keep_from = data.draw(st.integers(1, self.model.head + 1))
        gone = []
        seen = set()
        for position, told in sorted(self.model.events.items(), reverse=True):
            if Filter((kind,)).wants_type(told.kind, ""):
                old = told.time <= self.clock.now() - timedelta(hours=hours)
                if (told.kind, told.subject) in seen and old and position < keep_from:
                    gone.append(position)
                seen.add((told.kind, told.subject))
        assert self.run(self.log.compact([kind], timedelta(hours=hours), lambda: keep_from)) == len(gone)
        for position in gone:
            del self.model.events[position]

    @rule(subject=st.sampled_from(SUBJECTS))
    def erase(self, subject: str) -> None:
        """The subject's events are gone from every read, its version too, and its name is nowhere in the files."""
        gone = [position for position, told in self.model.events.items() if told.subject == subject]
        assert self.run(self.log.erase(subject)) == len(gone)
        for position in gone:
            del self.model.events[position]
        self.model.versions.pop(subject, None)
        for path in self.folder.glob("log.db*"):
            assert subject.encode() not in path.read_bytes(), path.name
        assert self.run(self.log.erase(subject)) == 0

    @rule()
    def restart(self) -> None:
        """Closed in good order and opened again."""
        self.run(self.log.close())
        self.open()

    @rule()
    def crash(self) -> None:
        """Opened from what was on the disk at this moment: nothing was written down in good order."""
        copy = Path(mkdtemp(prefix="log"))
        for path in self.folder.glob("log.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        self.run(self.log.close())
        shutil.rmtree(self.folder)
        self.folder, self.path = copy, copy / "log.db"
        self.open()

    def positions(self, wanted: bytes | None = None) -> list[int]:
        """What reading from the beginning to the head gives."""
        found: list[int] = []
        after = 0
        while after < self.log.head:
            chunk = self.run(self.log.read(after, wanted))
            assert chunk.scanned > after, "a read that does not move on"
            for piece in chunk.slices:
                for event in piece.decode():
                    told = self.model.events.get(event.position)
                    assert told is None or (event.id, event.subject, event.type) == (id_of(told.number), told.subject, told.kind)
                    found.append(event.position)
            after = chunk.scanned
        assert found == sorted(found)
        return found

    @invariant()
    def every_read_gives_what_the_model_holds(self) -> None:
        """All of it, by type, from the middle, and one by one."""
        if not hasattr(self, "model"):
            return
        assert self.log.head == self.model.head
        assert self.positions() == sorted(self.model.events)
        some = self.log.wanted_types(Filter((KINDS[0],)))
        assert self.positions(some) == sorted(p for p, told in self.model.events.items() if told.kind == KINDS[0])
        assert sorted(self.run(self.log.events(range(1, self.model.head + 2)))) == sorted(self.model.events)

    @precondition(lambda self: self.model.events)
    @rule(data=st.data())
    def read_from_the_middle(self, data: st.DataObject) -> None:
        """After any position of what is kept, also in the middle of a record and among events that are gone."""
        after = data.draw(st.integers(max(self.log.first - 1, 0), self.model.head))
        chunk = self.run(self.log.read(after, None, 1 << 30))
        got = [position for piece in chunk.slices for position in piece.positions]
        assert got == sorted(position for position in self.model.events if after < position <= chunk.scanned)

    def teardown(self) -> None:
        """Every promise about the file holds."""
        if hasattr(self, "model"):
            self.run(self.log.close())
            assert maintenance.verify(self.path) == []
            self.loop.close()
            shutil.rmtree(self.folder)


def failed(error: BaseException) -> None:
    """No rule expects this."""
    raise AssertionError(error)


LogMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
test_log = LogMachine.TestCase
