"""The bus client against a bus that goes away and comes back: nothing lost, nothing raised that trying again can help."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.event.v1.event_pb2 import Event

from bus.dealing import Dealer
from mesh import subscribe, testing
from mesh.deliveries import Nack
from mesh.errors import Refusal
from mesh.follow import BusClient
from tests.integration.bus_bench import PATIENCE, BusBench, event, number_of, running_bus
from tests.support.waiting import until


def process_of(bus: BusBench) -> testing.Bench:
    """The bus as something that can be stopped and started."""
    assert isinstance(bus.bench, testing.Bench)
    return bus.bench


@asynccontextmanager
async def client_of(bus: BusBench) -> AsyncIterator[BusClient]:
    """A started client of the bus."""
    client = BusClient(bus.address)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def followers(client: BusClient, count: int) -> None:
    """Waits until so many follow."""
    while True:
        if (await client.stub.GetBusStats(pb.GetBusStatsRequest())).followers == count:
            return


async def members(bus: BusBench, count: int) -> None:
    """Waits until so many pull."""
    while True:
        if (await bus.standing()).members == count:
            return


async def test_publish_gathers_concurrent_callers(tmp_path: Path) -> None:
    """Each caller gets its own positions, callers share commits, and one caller's batch stays together."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        answers = await asyncio.gather(*(client.publish([event(n), event(n)]) for n in range(200)))
        assert sorted(position for answer in answers for position in answer) == list(range(1, 401))
        assert all(second == first + 1 for first, second in answers)
        stats = await client.stub.GetBusStats(pb.GetBusStatsRequest())
        assert stats.commits < 200
        assert await client.publish([]) == []


async def test_a_refused_publish_does_not_hurt_those_that_share_its_request(tmp_path: Path) -> None:
    """One caller's bad event is refused to that caller; the others are stored."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        bad = event(0)
        bad.type = "no.such.type"
        answers = await asyncio.gather(
            *(client.publish([bad if number == 30 else event(number)], timeout=None) for number in range(60)),
            return_exceptions=True,
        )
        refusals = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(refusals) == 1
        assert isinstance(answers[30], Refusal)
        assert answers[30].reason == "UNKNOWN_EVENT_TYPE"
        stored = [answer[0] for answer in answers if isinstance(answer, list)]
        assert sorted(stored) == list(range(1, 60))


async def test_a_publish_that_no_message_can_hold_is_refused_for_good(tmp_path: Path) -> None:
    """More than gRPC takes at a time is TOO_LARGE at once, not an endless retry."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        large = [event(number, subject="s" * 512) for number in range(20)]
        for one in large:
            one.data.value += b"\x0a\x80\x80\x10" + b"x" * 262_144
        with pytest.raises(Refusal) as caught:
            await client.publish(large)
        assert caught.value.reason == "TOO_LARGE"


async def test_publish_waits_for_a_bus_that_is_away(tmp_path: Path) -> None:
    """A publish made while the bus is down is stored once it is back; one that may not wait is refused with UNAVAILABLE."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await client.publish([event(1)])
        await process_of(bus).stop()
        with pytest.raises(Refusal, match="bus"):
            await client.publish([event(2)], timeout=0.05)
        waiting = asyncio.create_task(client.publish([event(3)], timeout=None))
        await process_of(bus).start()
        async with asyncio.timeout(PATIENCE):
            (position,) = await waiting
        found = await bus.stub.ReadEvents(pb.ReadEventsRequest())
        assert number_of(found.events[position - 1]) == 3


async def test_expected_versions_go_alone_and_are_refused_with_what_stands(tmp_path: Path) -> None:
    """The client passes the guard through and raises the bus's answer."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        assert await client.publish([event(1, subject="runs/1")], expected_versions={"runs/1": 0}) == [1]
        with pytest.raises(Refusal, match="another version") as caught:
            await client.publish([event(2, subject="runs/1")], expected_versions={"runs/1": 0})
        assert caught.value.reason == "VERSION_CONFLICT"


async def test_a_closed_client_refuses_what_waits(tmp_path: Path) -> None:
    """Closing ends publishes that wait with UNAVAILABLE."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await process_of(bus).stop()
        waiting = asyncio.create_task(client.publish([event(1)], timeout=None))
        guarded = asyncio.create_task(client.publish([event(2)], expected_versions={"services/bus": 0}, timeout=None))
        await asyncio.sleep(0)
        await client.close()
        for publish in (waiting, guarded):
            with pytest.raises(Refusal, match="closed"):
                await publish
        await process_of(bus).start()


class Listening:
    """Two tasks that listen until their client is closed: to a subscription, and to the log."""

    def __init__(self, client: BusClient) -> None:
        self.got = 0
        self._client = client
        self._tasks = [asyncio.create_task(self._subscribed()), asyncio.create_task(self._listen(client.follow(after_position=0)))]

    async def _subscribed(self) -> None:
        async with self._client.subscription("listening") as events:
            await self._listen(aiter(events))

    async def _listen(self, events: AsyncIterator[Event]) -> None:
        async for _ in events:
            self.got += 1

    async def both_hear(self) -> None:
        """Waits until each of them has an event."""
        await self._client.publish([event(1)])
        await until(lambda: self.got == len(self._tasks))

    async def both_end(self) -> None:
        """Each with what has happened: neither waits for ever, nor ends as if somebody had cancelled it."""
        for task in self._tasks:
            with pytest.raises(Refusal, match="the client was closed"):
                async with asyncio.timeout(PATIENCE):
                    await task


async def test_a_closed_client_ends_whoever_still_listens(tmp_path: Path) -> None:
    """In other tasks than the one that closes it."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        listening = Listening(client)
        await listening.both_hear()
        await client.close()
        await listening.both_end()


async def test_iterating_acknowledges_as_it_goes(tmp_path: Path) -> None:
    """Every event comes in order; leaving the context acknowledges what was handled, and not the one at hand."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        for number in range(1, 6):
            await client.publish([event(number)])
        seen = []
        async with client.subscription("reader") as events, asyncio.timeout(PATIENCE):
            async for found in events:
                seen.append(number_of(found))
                if len(seen) == 4:
                    break
        assert seen == [1, 2, 3, 4]
        assert (await bus.settled(3)).ack_floor == 3
        async with client.subscription("reader") as events, asyncio.timeout(PATIENCE):
            async for found in events:
                assert number_of(found) == 4
                break


async def test_explicit_answers_win_over_the_loop(tmp_path: Path) -> None:
    """nack() brings an event back, park makes it a dead letter, and going on in the loop does not acknowledge it after all."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await client.publish([event(1, subject="a"), event(2, subject="b"), event(3, subject="c")])
        seen = []
        async with client.subscription("reader") as events, asyncio.timeout(PATIENCE):
            async for found in events:
                seen.append(number_of(found))
                if seen == [1]:
                    await events.nack(found, retry_after=timedelta(milliseconds=1), error="again")
                elif number_of(found) == 2:
                    await events.nack(found, park=True, error="bad")
                elif number_of(found) == 3:
                    await events.ack(found)
                if seen.count(1) == 2:
                    await events.ack(found)
                    break
        assert sorted(seen) == [1, 1, 2, 3]
        assert (await bus.settled(3)).dead_letters == 1


async def test_batches_are_settled_by_the_caller(tmp_path: Path) -> None:
    """Deliveries carry position and attempt; settle() acknowledges and gives back; unknown positions are passed over."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await client.publish([event(number, subject=f"s/{number}") for number in range(1, 4)])
        attempts: dict[int, list[int]] = {}
        async with client.subscription("reader") as events, asyncio.timeout(PATIENCE):
            async for batch in events.batches():
                for delivery in batch:
                    assert delivery.event.position == delivery.position
                    attempts.setdefault(delivery.position, []).append(delivery.attempt)
                fresh = [d.position for d in batch if d.position != 2 or d.attempt == 2]
                given_back = [Nack(d.position, retry_after=timedelta(milliseconds=1)) for d in batch if d.position not in fresh]
                await events.settle([*fresh, *fresh, 99], given_back)
                if attempts.get(2) == [1, 2]:
                    break
        assert attempts == {1: [1], 2: [1, 2], 3: [1]}
        await bus.settled(3)


async def test_a_subscription_outlives_the_server(tmp_path: Path) -> None:
    """Over restarts of the bus the loop goes on by itself, misses nothing, and gets everything at least once in order."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        seen: list[int] = []

        async def read() -> None:
            async with client.subscription("reader", ["service.started"]) as events:
                async for found in events:
                    seen.append(found.position)
                    if found.position == 60:
                        return

        reading = asyncio.create_task(read())
        for _ in range(3):
            for number in range(20):
                await client.publish([event(number)])
            await bus.bench.restart()
        async with asyncio.timeout(PATIENCE):
            await reading
        assert sorted(set(seen)) == list(range(1, 61))


async def test_follow_outlives_the_server_without_gap_or_repeat(tmp_path: Path) -> None:
    """A follower's events over restarts are exactly the log, in order."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        seen: list[int] = []

        async def read() -> None:
            async for found in client.follow(after_position=0):
                seen.append(found.position)
                if found.position == 60:
                    return

        reading = asyncio.create_task(read())
        for _ in range(3):
            for number in range(20):
                await client.publish([event(number)])
            await bus.bench.restart()
        async with asyncio.timeout(PATIENCE):
            await reading
        assert seen == list(range(1, 61))


async def test_follow_from_now_filters_by_type(tmp_path: Path) -> None:
    """Without a position a follower begins at the present; types restrict it."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await client.publish([event(1)])
        following = client.follow(types=["service.stopped"])
        first = asyncio.create_task(following.__anext__())
        async with asyncio.timeout(PATIENCE):
            await followers(client, 1)
            await client.publish([event(2), event(3, kind="stopped")])
            assert (await first).position == 3
        await following.aclose()


async def test_a_deleted_subscription_ends_the_loop_with_its_refusal(tmp_path: Path) -> None:
    """What trying again cannot help is raised to the one who iterates."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client, client.subscription("reader") as events:
        async with asyncio.timeout(PATIENCE):
            await members(bus, 1)
        await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="reader"))
        with pytest.raises(Refusal) as caught:
            async with asyncio.timeout(PATIENCE):
                await anext(aiter(events))
        assert caught.value.reason == "RESOURCE_NOT_FOUND"


async def test_another_definition_replaces_the_standing_one(tmp_path: Path) -> None:
    """A new version of a service that listens to more takes its subscription over with what it had settled."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await client.publish([event(1)])
        async with client.subscription("reader", ["service.started"]) as events, asyncio.timeout(PATIENCE):
            async for batch in events.batches():
                await events.settle([delivery.position for delivery in batch])
                break
        await bus.settled(1)
        await client.publish([event(2, kind="stopped")])
        async with client.subscription("reader", ["service.*"]) as events, asyncio.timeout(PATIENCE):
            async for found in events:
                assert found.position == 2
                break


async def test_an_expression_restricts_what_the_easy_helpers_give(tmp_path: Path) -> None:
    """`where` goes to the bus with subscription and follower alike, beside the types."""
    async with running_bus(tmp_path) as bus, client_of(bus) as client:
        await client.publish([event(number) for number in range(6)])
        where = subscription_pb2.EventFilter(cel="data.pid >= 4")
        async with client.subscription("reader", ["service.*"], where=where) as events:
            handled = [number_of(await anext(aiter(events))) for _ in range(1)]
        followed = []
        async for found in client.follow(after_position=0, where=where):
            followed.append(number_of(found))
            if len(followed) == 2:
                break
        assert (handled, followed) == ([4], [4, 5])


async def test_what_is_kept_is_held_for_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leap: Callable[[float], None]
) -> None:
    """A member that waits for its disk says so: no event is let go as hung, which would count as a failed delivery of it."""
    extended, extend = list[int](), Dealer.extend

    def counted(self: Dealer, token: int, positions: Iterable[int], now: float) -> list[int]:
        extended.extend(positions)
        return extend(self, token, positions, now)

    monkeypatch.setattr(Dealer, "extend", counted)
    # a leap is no silence of the server
    monkeypatch.setattr(subscribe, "_STALLED_SECONDS", 3600)
    monkeypatch.setattr(subscribe, "_LONGEST_HOLD_SECONDS", 100)
    async with running_bus(tmp_path, {"TOOLOO_BUS_ACK_DEADLINE": "60s"}) as bus, client_of(bus) as client:
        await client.publish([event(1)])
        async with client.subscription("reader") as member:
            batches = member.batches()
            (held,) = await anext(batches)
            # for twice as long as a handler may take that says nothing
            for times in range(1, 21):
                member.keep()
                leap(10)
                while len(extended) < times:  # noqa: ASYNC110 - what is waited for has no event of its own
                    await asyncio.sleep(0.002)
            await member.settle([held.position])
            await client.publish([event(2)])
            # had it been let go, it would have come again first
            assert [(number_of(each.event), each.attempt) for each in await anext(batches)] == [(2, 1)]
