"""A subscription that is moved or defined anew while its members answer: a dead letter stays, it is the only trace of its event."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tooloo.bus.v1.bus_service_pb2 import Nack, PullRequest
from tooloo.bus.v1.subscription_pb2 import StartAt, Subscription

from bus.deliveries import Changes
from bus.log import Log
from bus.member import Member
from bus.settings import BusSettings
from bus.sqlite_subscriptions import SqliteSubscriptionStore
from bus.subscription import Running
from bus.subscriptions import Subscriptions
from mesh.clock import SystemClock
from tests.support.events import sample

NAME = "reader"


class Interrupted(SqliteSubscriptionStore):
    """Something happens before a move or a write of acknowledgements is on the disk: what `meanwhile` says, once."""

    meanwhile: Callable[[], None] | None = None

    async def move(self, name: str, floor: int) -> None:
        """As it is, but not alone."""
        self.interrupt()
        await super().move(name, floor)

    async def apply(
        self, name: str, floor: int, ranges: bytes, changes: Changes, us_of: Callable[[float], int], now_us: int
    ) -> None:
        """As it is, but not alone."""
        self.interrupt()
        await super().apply(name, floor, ranges, changes, us_of, now_us)

    def interrupt(self) -> None:
        """The moment."""
        if happens := self.meanwhile:
            self.meanwhile = None
            happens()


class Scene:
    """A subscription whose only member holds two events; nobody reads its stream, it answers as the test says."""

    def __init__(self, running: Running, subscriptions: Subscriptions, store: Interrupted) -> None:
        self.running, self.subscriptions, self.store = running, subscriptions, store
        opening = PullRequest(subscription=NAME, credit_events=2)
        self.member: Member = running.join(opening)
        running.handle(self.member, opening)

    def park(self, position: int) -> None:
        """The member will never manage this one."""
        self.running.handle(self.member, PullRequest(nacks=[Nack(position=position, park=True, error="no")]))

    async def letters(self) -> list[int]:
        """The dead letters."""
        letters, _ = await self.subscriptions.dead_letters(NAME, 0, 10)
        return [letter.position for letter in letters]


@asynccontextmanager
async def scene(path: Path) -> AsyncIterator[Scene]:
    """The stage. Acknowledgements gather for so long that they are written only when somebody needs it."""
    settings = BusSettings(ballast_bytes=0)
    log = await Log.open(path / "log.db", settings)
    store = Interrupted(log)
    subscriptions = Subscriptions(log, store, settings, SystemClock())
    await subscriptions.start()
    definition = Subscription(name=NAME)
    definition.start.CopyFrom(StartAt(beginning=True))
    await subscriptions.create(definition)
    await log.publish([sample(1, "a"), sample(2, "b")])
    on_stage = Scene(subscriptions.running(NAME), subscriptions, store)
    async with asyncio.timeout(60):
        while on_stage.running.dealer.in_flight != 2:  # noqa: ASYNC110 - the dealer tells nobody
            await asyncio.sleep(0)
    try:
        yield on_stage
    finally:
        await subscriptions.stop()
        await log.close()


async def test_what_was_parked_just_before_a_seek_is_a_dead_letter(tmp_path: Path) -> None:
    """Also when the seek comes before the acknowledgements were written."""
    async with scene(tmp_path) as stage:
        stage.park(1)
        await stage.running.seek(2)
        assert await stage.letters() == [1]
        assert stage.running.dealer.acks.floor == 2


async def test_what_is_parked_during_a_seek_comes_too_late(tmp_path: Path) -> None:
    """Leases end when the seek begins: as after it, the member is told that it holds nothing."""
    async with scene(tmp_path) as stage:
        stage.store.meanwhile = lambda: stage.park(1)
        await stage.running.seek(0)
        assert await stage.letters() == []
        assert stage.running.dealer.acks.floor == 0


async def test_what_is_parked_while_a_definition_changes_comes_again(tmp_path: Path) -> None:
    """What was answered before is kept; what was not is fenced, and nothing is dealt out until the new definition stands."""
    async with scene(tmp_path) as stage:
        stage.park(1)
        stage.store.meanwhile = lambda: stage.park(2)
        await stage.running.redefine(Subscription(name=NAME, max_deliveries=7))
        assert await stage.letters() == [1]
        assert stage.running.dealer.acks.floor == 1


@pytest.mark.parametrize("everything", [False, True])
async def test_a_seek_makes_void_what_was_answered_during_it(tmp_path: Path, everything: bool) -> None:
    """Acknowledged or to be retried: after a seek to the beginning both come again, as for the first time."""
    async with scene(tmp_path) as stage:
        answer = PullRequest(ack=[1, 2]) if everything else PullRequest(nacks=[Nack(position=1)])
        stage.store.meanwhile = lambda: stage.running.handle(stage.member, answer)
        await stage.running.seek(0)
        await stage.running.written()
        dealer = stage.running.dealer
        assert (dealer.acks.floor, dealer.acks.above_floor) == (0, 0)
        assert await stage.store.retries(NAME, lambda due, asked: 0.0) == []
