"""Durable subscriptions through the server: what outlives a restart, ends a stream or is refused; the rest: tests/conformance."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.bus.v1.dead_letter_pb2 import DeadLetter

from mesh.reconnect import refusal_of
from mesh.settings import SettingError
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event, number_of, running_bus

SOON = duration_pb2.Duration(nanos=1_000_000)
LONG = duration_pb2.Duration(seconds=600)


async def dead_letters(bus: BusBench, count: int, name: str = "reader") -> list[DeadLetter]:
    """Waits until the subscription keeps so many dead letters."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription=name))
            if len(found.dead_letters) == count:
                return list(found.dead_letters)
            await asyncio.sleep(0.01)


async def code_of(call: object) -> str:
    """The status code of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any awaitable call of a stub
    return str(refusal_of(caught.value).code.name)


async def test_a_subscription_is_a_resource(tmp_path: Path) -> None:
    """Create is repeatable, another definition must be an update, list pages, delete forgets; all of it survives a restart."""
    async with running_bus(tmp_path) as bus:
        wanted = subscription_pb2.Subscription(name="a", filter=subscription_pb2.EventFilter(types=["service.*"]))
        request = pb.CreateSubscriptionRequest(subscription=wanted)
        assert (await bus.stub.CreateSubscription(request)).created
        assert not (await bus.stub.CreateSubscription(request)).created
        request.subscription.max_deliveries = 3
        assert await code_of(bus.stub.CreateSubscription(request)) == "ALREADY_EXISTS"
        update = pb.UpdateSubscriptionRequest(name="a", subscription=request.subscription)
        assert (await bus.stub.UpdateSubscription(update)).subscription.max_deliveries == 3
        await bus.subscribe("b")
        await bus.bench.restart()
        assert not (await bus.stub.CreateSubscription(request)).created
        page = await bus.stub.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=1))
        rest = await bus.stub.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=1, page_token=page.next_page_token))
        assert [one.name for one in (*page.subscriptions, *rest.subscriptions)] == ["a", "b"]
        assert rest.next_page_token == ""
        await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="a"))
        assert await code_of(bus.stub.GetSubscription(pb.GetSubscriptionRequest(name="a"))) == "NOT_FOUND"
        assert await code_of(bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="a"))) == "NOT_FOUND"


async def test_pull_delivers_within_credit_and_the_floor_follows_the_acks(tmp_path: Path) -> None:
    """No more than the credit is sent; selective and cumulative acks move the floor, and a restart gives only the rest."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 11)))
        puller = await Puller(bus.stub, credit=4).open()
        assert await puller.take(4) == [(1, 1), (2, 1), (3, 1), (4, 1)]
        assert (await puller.answer()).positions == []
        await puller.say(ack=[1, 2, 4], credit_events=2)
        assert await puller.take(2) == [(5, 1), (6, 1)]
        assert (await bus.settled(2)).ack_floor == 2
        await puller.say(ack_up_to=5)
        standing = await bus.settled(5)
        assert (standing.backlog, standing.in_flight, standing.members) == (5, 1, 1)
        await bus.bench.restart()
        again = await Puller(bus.stub).open()
        assert await again.take(5) == [(6, 1), (7, 1), (8, 1), (9, 1), (10, 1)]


async def test_a_broken_stream_gives_its_events_back_at_once_and_its_token_is_dead(tmp_path: Path) -> None:
    """Another member gets what a broken stream held, counted as another delivery; a late ack with the old token is refused."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(ack_deadline=LONG)
        await bus.publish(event(1))
        first = await Puller(bus.stub).open()
        assert await first.take(1) == [(1, 1)]
        second = await Puller(bus.stub).open()
        first.call.cancel()
        assert await second.take(1) == [(1, 2)]
        live = second.token
        second.token = first.token
        await second.say(ack=[1])
        async with asyncio.timeout(PATIENCE):
            while not (refused := (await second.answer()).refused_acks):
                pass
        assert list(refused) == [1]
        second.token = live
        await second.say(ack=[1])
        await bus.settled(1)


async def test_an_event_that_fails_too_often_becomes_one_dead_letter(tmp_path: Path) -> None:
    """After max deliveries there is one dead letter with attempts and last error; it survives a restart and holds up nothing."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(max_deliveries=2, order_by_subject=True)
        await bus.publish(event(1), event(2))
        puller = await Puller(bus.stub).open()
        for attempt in (1, 2):
            assert await puller.take(1) == [(1, attempt)]
            await puller.say(nacks=[pb.Nack(position=1, error=f"try {attempt}")])
        assert await puller.take(1) == [(2, 1)]
        await puller.say(ack=[2])
        await bus.settled(2)
        await bus.bench.restart()
        (letter,) = await dead_letters(bus, 1)
        assert (letter.position, letter.reason, letter.attempts, letter.last_error) == (1, "max_deliveries", 2, "try 2")
        assert number_of(letter.event) == 1
        assert (await bus.standing()).dead_letters == 1


async def test_deleting_ends_the_streams_and_unknown_names_are_not_found(tmp_path: Path) -> None:
    """A stream of a deleted or unknown subscription ends with NOT_FOUND; one that names none is refused."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        puller = await Puller(bus.stub).open()
        await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="reader"))
        assert await code_of(puller.call.read()) == "NOT_FOUND"
        assert await code_of(Puller(bus.stub, "nobody").open()) == "NOT_FOUND"
        assert await code_of(Puller(bus.stub, "").open()) == "INVALID_ARGUMENT"


async def test_retries_and_their_attempts_survive_a_restart(tmp_path: Path) -> None:
    """An event that was given back keeps its count over a restart, also with others acknowledged beyond it."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 4)))
        puller = await Puller(bus.stub).open()
        await puller.take(3)
        await puller.say(ack=[2, 3], nacks=[pb.Nack(position=1, retry_after=SOON)])
        assert await puller.take(1) == [(1, 2)]
        await puller.say(nacks=[pb.Nack(position=1, retry_after=SOON)])
        assert await puller.take(1) == [(1, 3)]
        await bus.bench.restart()
        again = await Puller(bus.stub).open()
        # the third delivery ended with the bus itself, so it does not count
        assert await again.take(1) == [(1, 3)]
        await again.say(ack=[1])
        await bus.settled(3)


async def test_members_are_limited_and_defaults_are_checked_at_the_start(tmp_path: Path) -> None:
    """One member too many is refused by the name of the setting; a backoff that is no length of time stops the boot."""
    async with running_bus(tmp_path, {"TOOLOO_BUS_MAX_MEMBERS": "1"}) as bus:
        await bus.subscribe()
        await Puller(bus.stub).open()
        assert await code_of(Puller(bus.stub).open()) == "RESOURCE_EXHAUSTED"
    with pytest.raises(SettingError, match="TOOLOO_BUS_BACKOFF"):
        async with running_bus(tmp_path, {"TOOLOO_BUS_BACKOFF": "soon"}):
            pass
