"""Retention that meets a change of a subscription under way: what the subscription still needs of the log stays there."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tooloo.bus.v1.bus_service_pb2 import Nack
from tooloo.bus.v1.subscription_pb2 import StartAt, Subscription

from bus.settings import BusSettings
from bus.storage import DiskFull
from tests.support.events import sample
from tests.unit.bus.test_cut_off import Held, letters, store_of
from tests.unit.bus.test_deal_now import NAME, Reader, subscribed

ONE = BusSettings(retention_count=1, coalesce_bytes=1, ack_linger=timedelta(hours=1))


async def test_a_dead_letter_that_is_not_written_yet_keeps_its_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is settled already, but its letter takes the event from the log when it is written: in a moment, or when there is room."""
    async with subscribed(tmp_path, ONE) as (core, running):
        reader = Reader(running, credit_events=10)
        for number in range(1, 5):
            await core.log.publish([sample(number)])
        assert await reader.until(4) == [1, 2, 3, 4]
        reader.say(nacks=[Nack(position=2, park=True)], ack=[1, 3, 4])
        assert running.dealer.acks.floor == 4
        await core.log.upkeep(core.subscriptions._keep_from)
        assert core.log.first == 2

        apply = store_of(core).apply

        async def full(*args: Any) -> None:
            monkeypatch.setattr(store_of(core), "apply", apply)
            await core.log.upkeep(core.subscriptions._keep_from)
            raise DiskFull

        monkeypatch.setattr(store_of(core), "apply", full)
        assert await letters(core) == [2]
        letter = await core.subscriptions.dead_letter(NAME, 2)
        assert letter is not None
        assert sample(2).id.encode() in letter.event
        await core.log.upkeep(core.subscriptions._keep_from)
        assert core.log.first == 4
        await reader.end()


@pytest.mark.parametrize("removal", ["retention", "compaction"])
async def test_where_a_subscription_is_moved_back_to_is_kept_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removal: str
) -> None:
    """Also by a removal that has looked up what may go, and has taken nothing yet."""
    async with subscribed(tmp_path, ONE) as (core, running):
        for number in range(1, 6):
            await core.log.publish([sample(number)])
        await core.subscriptions.seek(NAME, StartAt(after_position=5))
        query = core.log.query  # type: ignore[attr-defined]  # SQLite's

        async def moved_meanwhile(work: Any) -> Any:
            found = await query(work)
            monkeypatch.setattr(core.log, "query", query)
            await core.subscriptions.seek(NAME, StartAt(after_position=2))
            return found

        monkeypatch.setattr(core.log, "query", moved_meanwhile)
        if removal == "retention":
            await core.log.upkeep(core.subscriptions._keep_from)
        else:
            await core.subscriptions.compact(["*"], timedelta(0))
        assert running.dealer.acks.floor == 2
        reader = Reader(running, credit_events=10)
        assert await reader.until(3) == [3, 4, 5]
        await reader.end()


async def test_what_a_subscription_is_about_to_begin_with_is_kept(tmp_path: Path) -> None:
    """Also while it is being written: its start has been looked up, and nobody else needs the event."""
    async with subscribed(tmp_path, ONE) as (core, _):
        for number in range(1, 4):
            await core.log.publish([sample(number)])
        await core.subscriptions.delete(NAME)
        held = Held(store_of(core), "insert", before=True)
        creation = asyncio.create_task(core.subscriptions.create(Subscription(name=NAME, start=StartAt(beginning=True))))
        await held.reached.wait()
        await core.log.upkeep(core.subscriptions._keep_from)
        held.go.set()
        await creation
        reader = Reader(core.subscriptions.running(NAME), credit_events=10)
        assert await reader.until(3) == [1, 2, 3]
        await reader.end()
