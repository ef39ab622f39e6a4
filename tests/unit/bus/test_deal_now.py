"""Dealing in the moment of the commit: it may fail, find no credit, be paused or full; the publisher notices nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tooloo.bus.v1.bus_service_pb2 import PullRequest, PullResponse
from tooloo.bus.v1.subscription_pb2 import StartAt, Subscription

from bus.core import Core, open_core
from bus.member import Member
from bus.settings import BusSettings
from bus.subscription import Running
from mesh.clock import SystemClock
from tests.support.events import sample
from tests.support.waiting import until

NAME = "reader"


class Reader:
    """A member whose stream is read as it comes."""

    def __init__(self, running: Running, **opening: Any) -> None:
        first = PullRequest(subscription=NAME, **opening)
        self.running = running
        self.member: Member = running.join(first)
        running.handle(self.member, first)
        self.got: list[int] = []
        self.heard = asyncio.Event()
        self.failure: Exception | None = None
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for encoded in self.member.responses(self.running.stamp):
                self.got.extend(PullResponse.FromString(encoded).positions)
                self.heard.set()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.failure = error
        self.heard.set()

    def say(self, **values: Any) -> None:
        """An answer of the member."""
        self.running.handle(self.member, PullRequest(**values))

    async def until(self, count: int) -> list[int]:
        """What it got once that is so many events, or once the stream has failed."""
        async with asyncio.timeout(60):
            while len(self.got) < count and not self.failure:
                self.heard.clear()
                await self.heard.wait()
        return self.got

    async def end(self) -> None:
        """The stream breaks."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def subscribed(path: Path, settings: BusSettings | None = None, **definition: Any) -> AsyncIterator[tuple[Core, Running]]:
    """A bus with one subscription, at rest."""
    async with open_core(settings or BusSettings(), SystemClock(), path / "log.db") as core:
        await core.subscriptions.create(Subscription(name=NAME, **definition))
        yield core, core.subscriptions.running(NAME)


async def rested(running: Running) -> None:
    """Waits until the dealing task has nothing to do."""
    await until(lambda: running.dispatcher._resting and not running.dispatcher._wake.is_set())


async def test_an_exception_in_it_does_not_reach_the_publisher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The publish is acknowledged, the log says what happened, and the dealing task delivers the event."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await rested(running)

        def broken(after: int) -> None:
            raise RuntimeError("no one expects this")

        monkeypatch.setattr(running.dispatcher._matcher, "now", broken)
        assert (await core.log.publish([sample(1)])).positions[0] == 1
        assert await reader.until(1) == [1]
        assert "could not deal at once" in caplog.text
        await reader.end()


async def test_one_subscription_that_fails_does_not_keep_others_from_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All are told of the same commit, one after another."""
    async with subscribed(tmp_path) as (core, running):
        await core.subscriptions.create(Subscription(name="second"))
        second = Reader(core.subscriptions.running("second"), credit_events=10)
        reader = Reader(running, credit_events=10)
        await rested(running)
        monkeypatch.setattr(running.dispatcher, "_deal_now", lambda: 1 / 0)
        await core.log.publish([sample(1)])
        assert await second.until(1) == [1]
        assert await reader.until(1) == [1]
        await reader.end()
        await second.end()


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_burst_with_a_credit_of_one(tmp_path: Path, ordered: bool) -> None:
    """One at a time, in order, each once, however many stand there."""
    async with subscribed(tmp_path, order_by_subject=ordered) as (core, running):
        reader = Reader(running, credit_events=1)
        await rested(running)
        await asyncio.gather(*(core.log.publish([sample(number)]) for number in range(50)))
        for count in range(1, 51):
            assert await reader.until(count) == list(range(1, count + 1))
            assert running.dealer.in_flight == 1
            reader.say(ack_up_to=count, credit_events=1)
        await reader.end()


async def test_no_more_is_out_than_allowed(tmp_path: Path) -> None:
    """Whatever credit there is, over commits of one event each."""
    async with subscribed(tmp_path, max_in_flight=3) as (core, running):
        reader = Reader(running, credit_events=100)
        await rested(running)
        for number in range(1, 11):
            await core.log.publish([sample(number)])
        assert await reader.until(3) == [1, 2, 3]
        await rested(running)
        assert running.dealer.in_flight == 3
        reader.say(ack=[2])
        assert await reader.until(4) == [1, 2, 3, 4]
        await reader.end()


async def test_nothing_is_dealt_while_it_is_paused(tmp_path: Path) -> None:
    """What came meanwhile is delivered when it is resumed."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=100)
        await rested(running)
        await running.set_paused(True)
        await rested(running)
        await core.log.publish([sample(1)])
        await rested(running)
        assert reader.got == []
        await running.set_paused(False)
        assert await reader.until(1) == [1]
        await reader.end()


async def test_single_events_go_to_the_members_in_turn(tmp_path: Path) -> None:
    """Each commit deals out one event: the first member does not get them all."""
    async with subscribed(tmp_path) as (core, running):
        readers = [Reader(running, credit_events=100) for _ in range(3)]
        for number in range(1, 31):
            await rested(running)
            await core.log.publish([sample(number)])
        await until(lambda: sum(len(reader.got) for reader in readers) == 30)
        assert min(len(reader.got) for reader in readers) >= 9
        for reader in readers:
            await reader.end()


async def test_what_was_erased_before_it_was_sent_is_no_measure_of_order(tmp_path: Path) -> None:
    """A cumulative ack still settles what the member got behind it in order."""
    async with subscribed(tmp_path, order_by_subject=True) as (core, running):
        await core.log.publish([sample(1, "a"), sample(2, "a"), sample(3, "b")])
        await core.subscriptions.seek(NAME, StartAt(beginning=True))
        await core.log.erase("b")
        reader = Reader(running, credit_events=100)
        assert await reader.until(1) == [1]
        await rested(running)
        reader.say(ack=[1])
        assert await reader.until(2) == [1, 2]
        reader.say(ack_up_to=2)
        assert (running.dealer.in_flight, running.dealer.acks.floor) == (0, 3)
        await reader.end()
