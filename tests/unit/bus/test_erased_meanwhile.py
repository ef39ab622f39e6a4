"""What was erased while somebody read it: once the erase has been answered, nobody is given it, however slowly they read."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter, StartAt, Subscription

from bus.core import Core, open_core
from bus.settings import BusSettings
from mesh.clock import SystemClock
from tests.support.events import sample
from tests.support.waiting import until

ADA, BOB = "people/ada", "people/bob"
BEGINNING = StartAt(beginning=True)
Read = Callable[..., Awaitable[Any]]


def core_on(path: Path, **values: Any) -> Any:
    """A bus on a file, of which next to nothing stays in memory."""
    return open_core(BusSettings(**{"recent_bytes": 1, "coalesce_bytes": 1, **values}), SystemClock(), path / "log.db")


async def filled(core: Core, count: int = 6) -> None:
    """Events of two subjects in turn."""
    for number in range(1, count + 1):
        await core.log.publish([sample(number, BOB if number % 2 else ADA)])


def erasing_meanwhile(core: Core, read: Read) -> Read:
    """The same read, the first time with an erase that is answered after the disk was read and before the answer is looked at."""
    done = False

    async def slow(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        found = await read(*args, **kwargs)
        if not done:
            done = True
            await core.subscriptions.erase(ADA)
        return found

    return slow


async def test_erases_without_a_pause_hold_up_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read meets one: in the end the erase waits for the reader, who is given what stands then."""
    async with core_on(tmp_path, read_bytes=100_000) as core:
        await filled(core)
        read, reads = core.log.read, 0

        async def slow(*args: Any, **kwargs: Any) -> Any:
            nonlocal reads
            reads += 1
            found = await read(*args, **kwargs)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await core.subscriptions.erase(f"people/{reads}")
            return found

        monkeypatch.setattr(core.log, "read", slow)
        answer = await core.service.ReadEvents(pb.ReadEventsRequest(), None)
        assert [event.position for event in answer.events] == [1, 2, 3, 4, 5, 6]


async def test_a_follower_that_is_slow_to_take_a_part(tmp_path: Path) -> None:
    """Of a part that makes several messages the rest is read anew; what else is in it comes once."""
    async with core_on(tmp_path, message_events=1, recent_bytes=1_000_000) as core:
        await filled(core)
        answers = core.service.Follow(pb.FollowRequest(start=BEGINNING, stamp_positions=True), None)
        got: list[tuple[int, str]] = []
        async for encoded in answers:
            answer = pb.FollowResponse.FromString(encoded)
            got += [(event.position, event.subject) for event in answer.events]
            if got == [(1, BOB)] and answer.events:
                await core.subscriptions.erase(ADA)
            if answer.progress_position >= 6:
                break
        assert got == [(1, BOB), (3, BOB), (5, BOB)]


@pytest.mark.parametrize("cel", ["", "true"])
async def test_a_read_that_was_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cel: str) -> None:
    """A page of the log, also one whose events are judged one by one."""
    async with core_on(tmp_path, message_bytes=1024, read_bytes=100_000) as core:
        await filled(core)
        monkeypatch.setattr(core.log, "read", erasing_meanwhile(core, core.log.read))
        request = pb.ReadEventsRequest(filter=EventFilter(cel=cel))
        answer = await core.service.ReadEvents(request, None)
        assert [(event.position, event.subject) for event in answer.events] == [(1, BOB), (3, BOB), (5, BOB)]


async def test_a_list_of_dead_letters_that_was_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one of them, also where the log has no event of the subject any more."""
    async with core_on(tmp_path) as core:
        await core.subscriptions.create(Subscription(name="reader", start=BEGINNING, filter=EventFilter(cel="data.no_such == 1")))
        await filled(core, 2)
        running = core.subscriptions.running("reader")
        member = running.join(first := pb.PullRequest(subscription="reader", credit_events=10))
        running.handle(member, first)
        await until(lambda: running.dealer.acks.floor == 2)
        store = core.subscriptions._store
        monkeypatch.setattr(store, "dead_letters", erasing_meanwhile(core, store.dead_letters))
        found, _ = await core.subscriptions.dead_letters("reader", 0, 10)
        assert [letter.position for letter in found] == [1]
