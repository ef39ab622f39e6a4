"""A subscription with its dead letters over a real log, against a simple model: nothing is lost, no letter comes twice."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tooloo.bus.v1.bus_service_pb2 import Nack, PullRequest, PullResponse
from tooloo.bus.v1.subscription_pb2 import EventFilter, StartAt, Subscription

from bus.log import Log
from bus.member import Member
from bus.settings import BusSettings
from bus.sqlite_subscriptions import SqliteSubscriptionStore
from bus.subscriptions import Subscriptions
from mesh.clock import SystemClock
from tests.support.events import sample

T = TypeVar("T")
WANTED, OTHER = "service.started", "service.stopped"
SUBJECTS = ("people/ada", "people/bob", "people/eve")
NAME = "reader"


class Reader:
    """One stream that pulls the subscription."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self.running = subscriptions.running(NAME)
        opening = PullRequest(subscription=NAME, credit_events=100_000)
        self.member: Member = self.running.join(opening)
        self.got: dict[int, tuple[int, str]] = {}
        self.highest = 0
        self.late: set[int] = set()
        self.running.handle(self.member, opening)
        self.reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async for encoded in self.member.responses(self.running.stamp):
            response = PullResponse.FromString(encoded)
            for event, position, attempt in zip(response.events, response.positions, response.attempts, strict=True):
                assert event.position == position
                assert position not in self.got, "given out twice at a time"
                self.got[position] = attempt, event.subject
                (self.late.add if position <= self.highest else self.late.discard)(position)
                self.highest = max(self.highest, position)

    async def say(self, **values: Any) -> None:
        """Answers, and waits until that is on the disk."""
        self.running.handle(self.member, PullRequest(**values))
        await self.running.written()

    async def end(self) -> None:
        """The stream breaks."""
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)


class SubscriptionMachine(RuleBasedStateMachine):
    """One subscription, one reader with endless credit: whatever is unsettled is out with it, once each."""

    @initialize(max_deliveries=st.sampled_from((2, 3)), recent=st.sampled_from((1, 1 << 24)))
    def begin(self, max_deliveries: int, recent: int) -> None:
        """An empty log with a subscription without order."""
        self.loop = asyncio.new_event_loop()
        self.folder = Path(mkdtemp(prefix="subscription"))
        self.settings = BusSettings(recent_bytes=recent, coalesce_bytes=600, ballast_bytes=0, inline_commit=timedelta(seconds=1))
        self.max_deliveries = max_deliveries
        self.log_events: list[tuple[str, str]] = []
        self.unsettled: dict[int, int] = {}
        self.dead: dict[int, int] = {}
        self.erased: set[int] = set()
        self.run(self.open())
        definition = Subscription(name=NAME, filter=EventFilter(types=[WANTED]), max_deliveries=max_deliveries)
        definition.start.CopyFrom(StartAt(beginning=True))
        self.run(self.subscriptions.create(definition))
        self.run(self.join())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs in the machine's loop."""

        async def in_time() -> T:
            async with asyncio.timeout(60):
                return await work

        return self.loop.run_until_complete(in_time())

    async def open(self) -> None:
        """Opens the log and takes up its subscriptions."""
        self.log = await Log.open(self.folder / "log.db", self.settings)
        self.subscriptions = Subscriptions(self.log, SqliteSubscriptionStore(self.log), self.settings, SystemClock())
        await self.subscriptions.start()

    async def join(self) -> None:
        """A reader comes."""
        self.reader = Reader(self.subscriptions)

    async def close(self) -> None:
        """Everything ends in good order."""
        await self.reader.end()
        await self.subscriptions.stop()
        await self.log.close()

    def quiet(self) -> None:
        """Waits until all that is unsettled is out with the reader, and looks at it."""

        async def wait() -> None:
            dealer, unsettled = self.reader.running.dealer, self.unsettled
            while set(self.reader.got) != set(unsettled) or dealer.in_flight != len(unsettled):  # noqa: ASYNC110 - two books
                await asyncio.sleep(0.001)

        self.run(wait())
        for position, (attempt, subject) in self.reader.got.items():
            assert subject == self.log_events[position - 1][0]
            assert attempt == self.unsettled[position]

    def deliver(self, position: int, attempt: int) -> None:
        """The model's side of the next delivery; what was erased is settled instead."""
        if position in self.erased:
            self.unsettled.pop(position, None)
        else:
            self.unsettled[position] = attempt

    @rule(told=st.lists(st.tuples(st.sampled_from(SUBJECTS), st.sampled_from((WANTED, WANTED, OTHER))), min_size=1, max_size=5))
    def publish(self, told: list[tuple[str, str]]) -> None:
        """The log grows."""
        first = len(self.log_events) + 1
        events = [sample(position, subject, kind) for position, (subject, kind) in enumerate(told, first)]
        self.run(self.log.publish(events))
        self.log_events += told
        self.unsettled.update({position: 1 for position, (_, kind) in enumerate(told, first) if kind == WANTED})
        self.quiet()

    def some(self, data: st.DataObject, of: Iterable[int]) -> list[int]:
        """A few positions."""
        return data.draw(st.lists(st.sampled_from(sorted(of)), min_size=1, max_size=4, unique=True))

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data(), cumulative=st.booleans())
    def ack(self, data: st.DataObject, cumulative: bool) -> None:
        """Some of them, or all up to one that came in order: what came at or behind a higher one is acknowledged by name alone."""
        positions = self.some(data, self.unsettled)
        if cumulative:
            self.run(self.reader.say(ack_up_to=positions[0]))
            positions = [one for one in self.unsettled if one <= positions[0] and one not in self.reader.late]
        else:
            self.run(self.reader.say(ack=positions))
        for position in positions:
            del self.unsettled[position], self.reader.got[position]
        self.quiet()

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data(), park=st.booleans())
    def nack(self, data: st.DataObject, park: bool) -> None:
        """Given out again at once, or a dead letter: exactly one."""
        positions = self.some(data, self.unsettled)
        for position in positions:
            attempt = self.unsettled.pop(position)
            self.reader.got.pop(position)
            if park or attempt >= self.max_deliveries:
                if position not in self.erased:
                    self.dead[position] = attempt
            else:
                self.deliver(position, attempt + 1)
        nacks = [Nack(position=position, park=park, error="no") for position in positions]
        for nack in nacks:
            nack.retry_after.FromTimedelta(timedelta(0))
        self.run(self.reader.say(nacks=nacks))
        self.quiet()

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), every=st.booleans())
    def redrive(self, data: st.DataObject, every: bool) -> None:
        """Each exactly once, with fresh attempts; asking again for what is out already redrives nothing."""
        positions = sorted(self.dead) if every else self.some(data, list(self.dead))
        assert self.run(self.reader.running.redrive(None if every else positions)) == len(positions)
        assert self.run(self.reader.running.redrive(positions)) == 0
        for position in positions:
            del self.dead[position]
            self.deliver(position, 1)
        self.quiet()

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Gone for good."""
        positions = self.some(data, list(self.dead))
        assert self.run(self.subscriptions.drop_dead_letters(NAME, positions)) == len(positions)
        for position in positions:
            del self.dead[position]

    @rule(subject=st.sampled_from(SUBJECTS))
    def erase(self, subject: str) -> None:
        """Dead letters of the subject are gone, what is out stays out until it is answered; the text is nowhere in the files."""
        self.run(self.subscriptions.erase(subject))
        gone = {position for position, (told, _) in enumerate(self.log_events, 1) if told == subject}
        self.erased |= gone
        for position in gone & set(self.dead):
            del self.dead[position]
        for path in self.folder.glob("log.db*"):
            assert subject.encode() not in path.read_bytes(), path.name
        self.quiet()

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        """What was answered stays so; what was out is given out again, and that delivery does not count."""
        if crash:
            copy = Path(mkdtemp(prefix="subscription"))
            for path in self.folder.glob("log.db*"):
                if not path.name.endswith("-shm"):
                    shutil.copy(path, copy)
            self.run(self.close())
            shutil.rmtree(self.folder)
            self.folder = copy
        else:
            self.run(self.close())
        self.run(self.open())
        self.run(self.join())
        for position in self.erased:
            self.unsettled.pop(position, None)
        self.quiet()

    @rule()
    def the_stream_breaks(self) -> None:
        """What was out is given to the next reader at once, as one more delivery, or is a dead letter."""

        async def another() -> None:
            await self.reader.end()
            self.reader.running.leave(self.reader.member, counted=True)
            await self.reader.running.written()
            await self.join()

        self.run(another())
        for position, attempt in list(self.unsettled.items()):
            del self.unsettled[position]
            if attempt < self.max_deliveries:
                self.deliver(position, attempt + 1)
            elif position not in self.erased:
                self.dead[position] = attempt
        self.quiet()

    @invariant()
    def each_dead_letter_is_there_once(self) -> None:
        """With its reason, its event and its attempts."""
        if not hasattr(self, "reader"):
            return
        letters, _ = self.run(self.subscriptions.dead_letters(NAME, 0, 1000))
        assert {letter.position: letter.attempts for letter in letters} == self.dead
        assert len(letters) == len(self.dead)

    def teardown(self) -> None:
        """In the end the reader acknowledges all, and the floor is the head."""
        if hasattr(self, "reader"):
            self.run(self.reader.say(ack=list(self.unsettled)))
            self.unsettled.clear()
            self.reader.got.clear()
            self.quiet()
            assert self.reader.running.dealer.acks.floor == self.log.head
            self.run(self.close())
            self.loop.close()
            shutil.rmtree(self.folder)


SubscriptionMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20)
test_subscription = SubscriptionMachine.TestCase


class Told(SubscriptionMachine):
    """The same machine, led by hand: `chosen` is what is answered for next, in the place of the draw."""

    chosen: list[int]

    def some(self, data: Any, of: Iterable[int]) -> list[int]:
        """What was chosen, all of which stands."""
        assert set(self.chosen) <= set(of)
        return self.chosen

    def say(self, how: Callable[..., None], *positions: int, **values: bool) -> None:
        """One step; the invariant is looked at after it, as hypothesis does."""
        self.chosen = list(positions)
        how(data=None, **values)
        self.each_dead_letter_is_there_once()


@pytest.fixture
def machine() -> Iterator[Told]:
    """Two deliveries each, nothing in memory but the newest record."""
    machine = Told()
    machine.begin(max_deliveries=2, recent=1)
    yield machine
    machine.teardown()


def test_what_was_redriven_behind_a_higher_event_is_acknowledged_by_name_alone(machine: Told) -> None:
    """Once met by chance: after a restart everything came in order but three dead letters, redriven behind all the others."""
    ada = (SUBJECTS[0], WANTED)
    machine.publish([ada] * 2)
    machine.the_stream_breaks()
    # the second delivery of both: in order on a new stream, and so settled up to the second
    machine.say(machine.ack, 2, cumulative=True)
    assert not machine.unsettled
    machine.the_stream_breaks()
    machine.restart(crash=False)
    machine.publish([ada] * 5)
    machine.publish([ada] * 2)
    machine.say(machine.nack, 5, 4, park=True)
    machine.say(machine.nack, 7, park=False)
    machine.restart(crash=True)
    machine.say(machine.nack, 3, 7, park=False)
    assert set(machine.dead) == {4, 5, 7}
    machine.publish([ada] * 5)
    machine.say(machine.ack, 13, 12, 10, 3, cumulative=False)
    machine.restart(crash=True)
    assert set(machine.unsettled) == {6, 8, 9, 11, 14}
    machine.say(machine.redrive, every=True)
    machine.say(machine.ack, 8, cumulative=True)
    assert set(machine.unsettled) == {4, 5, 7, 9, 11, 14}
    assert machine.reader.running.dealer.acks.floor == 8
    machine.say(machine.ack, 14, cumulative=True)
    assert set(machine.unsettled) == {4, 5, 7}
    machine.say(machine.ack, 4, 5, cumulative=False)
    assert set(machine.unsettled) == {7}
