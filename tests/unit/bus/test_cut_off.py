"""Changes of a subscription whose caller has gone, or behind which members go on: each is made whole or not at all."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import duration_pb2
from tooloo.bus.v1.bus_service_pb2 import Nack
from tooloo.bus.v1.subscription_pb2 import StartAt, Subscription

from bus.core import Core
from bus.settings import BusSettings
from bus.storage import Closed, DiskFull
from mesh.errors import Refusal
from tests.support.events import sample
from tests.support.waiting import turns
from tests.unit.bus.test_deal_now import NAME, Reader, subscribed


class Held:
    """A method of the store that answers only when `go` is set: before it does its work, or after."""

    def __init__(self, store: Any, name: str, *, before: bool = False) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self._work, self._before = getattr(store, name), before
        setattr(store, name, self)

    async def __call__(self, *args: Any) -> Any:
        """What the method does."""
        found = None if self._before else await self._work(*args)
        self.reached.set()
        await self.go.wait()
        return await self._work(*args) if self._before else found

    async def cut_off(self, change: Coroutine[Any, Any, Any]) -> None:
        """The change begins, and its caller is gone when it comes here."""
        caller = asyncio.create_task(change)
        await self.reached.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        self.go.set()
        await turns()


def store_of(core: Core) -> Any:
    """What the subscriptions are kept in."""
    return core.subscriptions._store


async def letters(core: Core) -> list[int]:
    """Where the events of its dead letters stand."""
    found, _ = await core.subscriptions.dead_letters(NAME, 0, 10)
    return [letter.position for letter in found]


async def test_a_creation_that_was_cut_off_stands(tmp_path: Path) -> None:
    """Who asks again is told so; the bus goes on."""
    async with subscribed(tmp_path) as (core, _):
        wanted = Subscription(name="second")
        await Held(store_of(core), "insert").cut_off(core.subscriptions.create(wanted))
        _, created = await core.subscriptions.create(wanted)
        assert not created


async def test_a_deletion_that_was_cut_off_is_one(tmp_path: Path) -> None:
    """The name is free, on the disk too."""
    async with subscribed(tmp_path) as (core, _):
        await Held(store_of(core), "delete", before=True).cut_off(core.subscriptions.delete(NAME))
        _, created = await core.subscriptions.create(Subscription(name=NAME))
        assert created


async def test_a_deletion_for_which_there_is_no_room_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still stands and delivers, and is deleted when somebody asks again."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)

        async def full(name: str) -> None:
            raise DiskFull

        with monkeypatch.context() as patch:
            patch.setattr(store_of(core), "delete", full)
            with pytest.raises(DiskFull):
                await core.subscriptions.delete(NAME)
        await core.log.publish([sample(1)])
        assert await reader.until(1) == [1]
        await core.subscriptions.delete(NAME)
        with pytest.raises(Refusal):
            core.subscriptions.running(NAME)
        await reader.end()


async def test_a_seek_that_was_cut_off_is_one(tmp_path: Path) -> None:
    """Disk and memory stand at the same place."""
    async with subscribed(tmp_path) as (core, running):
        await core.log.publish([sample(1), sample(2)])
        await Held(store_of(core), "move").cut_off(core.subscriptions.seek(NAME, StartAt(after_position=2)))
        assert running.dealer.acks.floor == 2


async def test_a_redrive_that_was_cut_off_is_one(tmp_path: Path) -> None:
    """What is no dead letter any more is delivered."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(1)])
        assert await reader.until(1) == [1]
        reader.say(nacks=[Nack(position=1, park=True)])
        assert await letters(core) == [1]
        await Held(store_of(core), "redrive").cut_off(running.redrive(None))
        assert await letters(core) == []
        assert await reader.until(2) == [1, 1]
        await reader.end()


async def test_a_redrive_that_ends_between_two_writes_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill, or a disk that fails: what was written is delivered, the others are letters still, and each comes once."""
    async with subscribed(tmp_path, BusSettings(redrive_batch=2)) as (core, running):
        reader = Reader(running, credit_events=100)
        await core.log.publish([sample(number) for number in range(1, 6)])
        assert await reader.until(5) == [1, 2, 3, 4, 5]
        reader.say(nacks=[Nack(position=number, park=True) for number in range(1, 6)])
        assert await letters(core) == [1, 2, 3, 4, 5]
        store = store_of(core)
        redrive, calls = store.redrive, iter([None, Closed()])

        async def ends(*args: Any) -> Any:
            if failure := next(calls, None):
                raise failure
            return await redrive(*args)

        monkeypatch.setattr(store, "redrive", ends)
        with pytest.raises(Closed):
            await running.redrive(None)
        assert await letters(core) == [3, 4, 5]
        assert await reader.until(7) == [1, 2, 3, 4, 5, 1, 2]
        # a letter again by now: the call that goes on with the others is the one that gives it out
        reader.say(nacks=[Nack(position=1, park=True)])
        assert await letters(core) == [1, 3, 4, 5]
        assert await running.redrive(None) == 4
        assert await reader.until(11) == [1, 2, 3, 4, 5, 1, 2, 1, 3, 4, 5]
        await reader.end()


async def test_a_letter_that_is_one_again_is_not_given_out_again_by_the_same_call(tmp_path: Path) -> None:
    """Each once, however fast whoever gets it parks it again."""
    async with subscribed(tmp_path, BusSettings(redrive_batch=1)) as (core, running):
        reader = Reader(running, credit_events=100)
        await core.log.publish([sample(number) for number in range(1, 5)])
        assert await reader.until(4) == [1, 2, 3, 4]
        reader.say(nacks=[Nack(position=number, park=True) for number in range(1, 5)])
        assert await letters(core) == [1, 2, 3, 4]
        redriving = asyncio.create_task(running.redrive(None))
        for count in range(5, 9):
            got = await reader.until(count)
            reader.say(nacks=[Nack(position=got[-1], park=True)])
        assert await redriving == 4
        assert await letters(core) == [1, 2, 3, 4]
        await reader.end()


async def test_a_list_that_was_cut_off_loses_no_dead_letter(tmp_path: Path) -> None:
    """What waited to be written is written, though who waited for it has gone."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(1)])
        assert await reader.until(1) == [1]
        reader.say(nacks=[Nack(position=1, park=True)])
        await Held(store_of(core), "apply", before=True).cut_off(letters(core))
        assert await letters(core) == [1]
        await reader.end()


async def test_a_seek_leaves_no_dead_letter_behind(tmp_path: Path) -> None:
    """What was parked just before it, and not written yet, is one also when the seek goes beyond it."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(1), sample(2)])
        assert await reader.until(2) == [1, 2]
        reader.say(nacks=[Nack(position=1, park=True)])
        await core.subscriptions.seek(NAME, StartAt(after_position=2))
        assert await letters(core) == [1]
        await reader.end()


async def test_what_is_parked_while_a_definition_changes_is_not_lost(tmp_path: Path) -> None:
    """It is a dead letter, or it comes again."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(1, "a"), sample(2, "b")])
        assert await reader.until(2) == [1, 2]
        reader.say(ack=[1])
        held = Held(store_of(core), "apply", before=True)
        change = asyncio.create_task(core.subscriptions.update(NAME, Subscription(name=NAME, max_deliveries=7)))
        await held.reached.wait()
        await turns()
        reader.say(nacks=[Nack(position=2, park=True)])
        held.go.set()
        await change
        assert await reader.until(3) == [1, 2, 2]
        reader.say(nacks=[Nack(position=2, park=True)])
        assert await letters(core) == [2]
        await reader.end()


async def test_a_retry_waits_on_while_a_definition_changes(tmp_path: Path) -> None:
    """It is not dealt out before its time and its deliveries are known again."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(1, "a"), sample(2, "b")])
        assert await reader.until(2) == [1, 2]
        reader.say(nacks=[Nack(position=1, retry_after=duration_pb2.Duration(seconds=600))])
        held = Held(store_of(core), "retries")
        change = asyncio.create_task(core.subscriptions.update(NAME, Subscription(name=NAME, max_deliveries=7)))
        await held.reached.wait()
        await core.log.publish([sample(3, "c")])
        await turns()
        held.go.set()
        await change
        assert await reader.until(4) == [1, 2, 2, 3]
        assert running.dealer.in_flight == 2
        await reader.end()


async def test_a_stop_takes_no_dead_letter_from_what_is_being_written(tmp_path: Path) -> None:
    """What was waiting for the disk when the bus stopped is there whole, or not at all."""
    async with subscribed(tmp_path) as (core, running):
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(1)])
        assert await reader.until(1) == [1]
        held = Held(store_of(core), "apply", before=True)
        reader.say(nacks=[Nack(position=1, park=True)])
        await held.reached.wait()
        stopping = asyncio.create_task(running.stop())
        await turns()
        held.go.set()
        await stopping
        assert [letter.position for letter in await store_of(core).dead_letters(NAME, 0, 10, 1000)] == [1]
        await reader.end()
