"""Durable subscriptions through the server: delivery, acks, leases, redelivery, dead letters, seek and pause."""

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


async def test_filters_skip_and_the_floor_passes_what_is_skipped(tmp_path: Path) -> None:
    """Only matching events are delivered; what does not match never holds up the floor."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(filter=subscription_pb2.EventFilter(types=["service.stopped"], subject_prefix="a/"))
        await bus.publish(
            event(1), event(2, subject="a/1", kind="stopped"), event(3, kind="stopped"), event(4, subject="a/2", kind="stopped")
        )
        puller = await Puller(bus.stub).open()
        assert await puller.take(2) == [(2, 1), (4, 1)]
        await puller.say(ack=[2])
        assert (await bus.settled(3)).ack_floor == 3


async def test_order_by_subject_waits_for_the_one_before(tmp_path: Path) -> None:
    """An event is not given out before the earlier one of its subject is acknowledged; other subjects go on."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(order_by_subject=True)
        await bus.publish(event(1, subject="a"), event(2, subject="a"), event(3, subject="b"))
        one = await Puller(bus.stub).open()
        assert await one.take(2) == [(1, 1), (3, 1)]
        await one.say(nacks=[pb.Nack(position=1, retry_after=SOON)])
        assert await one.take(1) == [(1, 2)]
        await one.say(ack=[1])
        assert await one.take(1) == [(2, 1)]


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


async def test_a_member_that_leaves_uses_up_no_attempt(tmp_path: Path) -> None:
    """Leaving in good order commits the acks, ends the stream, and gives the rest back uncounted."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.publish(event(1, subject="a"), event(2, subject="b"))
        first = await Puller(bus.stub).open()
        assert await first.take(2) == [(1, 1), (2, 1)]
        await first.say(ack=[1], leave=True)
        async with asyncio.timeout(PATIENCE):
            while isinstance(answer := await first.call.read(), pb.PullResponse):
                last = answer
        assert (last.ack_floor, last.acks_committed) == (1, 1)
        second = await Puller(bus.stub).open()
        assert await second.take(1) == [(2, 1)]


async def test_an_event_held_past_its_deadline_is_given_out_again_unless_extended(tmp_path: Path) -> None:
    """The ack deadline ends a lease; extending it keeps the lease."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(ack_deadline=duration_pb2.Duration(nanos=300_000_000))
        await bus.publish(event(1, subject="a"), event(2, subject="b"))
        puller = await Puller(bus.stub).open()
        assert await puller.take(2) == [(1, 1), (2, 1)]
        found: list[tuple[int, int]] = []
        async with asyncio.timeout(PATIENCE):
            while not found:
                await puller.say(extend=[2])
                answer = await puller.answer()
                found.extend(zip(answer.positions, answer.attempts, strict=True))
        assert found == [(1, 2)]


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


async def test_parked_events_are_redriven_once_each_or_dropped(tmp_path: Path) -> None:
    """Park makes a dead letter at once; redrive delivers it again with fresh attempts, once; drop forgets it."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 4)))
        puller = await Puller(bus.stub).open()
        await puller.take(3)
        await puller.say(nacks=[pb.Nack(position=position, park=True, error="no") for position in (1, 2, 3)])
        await dead_letters(bus, 3)
        await bus.bench.restart()
        request = pb.RedriveDeadLettersRequest(subscription="reader", positions=[2])
        assert (await bus.stub.RedriveDeadLetters(request)).redriven == 1
        assert (await bus.stub.RedriveDeadLetters(request)).redriven == 0
        await bus.bench.restart()
        again = await Puller(bus.stub).open()
        assert await again.take(1) == [(2, 1)]
        await again.say(ack=[2])
        assert (await bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="reader", positions=[1]))).dropped == 1
        (letter,) = await dead_letters(bus, 1)
        assert letter.position == 3
        get = pb.GetDeadLetterRequest(subscription="reader", position=3)
        assert (await bus.stub.GetDeadLetter(get)).dead_letter.reason == "parked"
        assert (await bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="reader", all=True))).dropped == 1
        assert await code_of(bus.stub.GetDeadLetter(get)) == "NOT_FOUND"
        nothing = pb.DropDeadLettersRequest(subscription="reader")
        assert await code_of(bus.stub.DropDeadLetters(nothing)) == "INVALID_ARGUMENT"


async def test_dead_letters_come_in_pages(tmp_path: Path) -> None:
    """Pages hold each dead letter once, oldest first."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 6)))
        puller = await Puller(bus.stub).open()
        await puller.take(5)
        await puller.say(nacks=[pb.Nack(position=position, park=True) for position in range(1, 6)])
        await dead_letters(bus, 5)
        found: list[int] = []
        token = ""
        while True:
            page = await bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="reader", page_size=2, page_token=token))
            found.extend(letter.position for letter in page.dead_letters)
            token = page.next_page_token
            if not token:
                break
        assert found == [1, 2, 3, 4, 5]


async def test_discarded_dead_letters_are_settled_and_not_kept(tmp_path: Path) -> None:
    """With discard_dead_letters an event that used up its deliveries is gone."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(discard_dead_letters=True, max_deliveries=1)
        await bus.publish(event(1))
        puller = await Puller(bus.stub).open()
        await puller.take(1)
        await puller.say(nacks=[pb.Nack(position=1)])
        assert (await bus.settled(1)).dead_letters == 0


async def test_pause_holds_delivery_and_resume_goes_on(tmp_path: Path) -> None:
    """Nothing is delivered while paused, also over a restart; nothing is lost."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        paused = await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
        assert paused.subscription.state == subscription_pb2.Subscription.STATE_PAUSED
        await bus.publish(event(1))
        await bus.bench.restart()
        puller = await Puller(bus.stub).open()
        # a heartbeat instead of the event: the server had nothing to give for that long
        assert (await puller.answer()).positions == []
        await bus.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
        assert await puller.take(1) == [(1, 1)]


async def test_seek_moves_back_and_fences_what_was_out(tmp_path: Path) -> None:
    """After a seek the stream gets a new token and the events from the new place; acks under the old token are refused."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 4)))
        puller = await Puller(bus.stub).open()
        old = puller.token
        await puller.take(3)
        await puller.say(ack=[1, 2])
        await bus.settled(2)
        seek = pb.SeekSubscriptionRequest(name="reader", start=subscription_pb2.StartAt(beginning=True))
        assert (await bus.stub.SeekSubscription(seek)).subscription.ack_floor == 0
        await puller.call.write(pb.PullRequest(fencing_token=old, ack=[3]))
        assert await puller.take(3) == [(1, 1), (2, 1), (3, 1)]
        assert puller.token != old
        await puller.say(ack=[1])
        assert (await bus.settled(1)).ack_floor == 1
        beyond = pb.SeekSubscriptionRequest(name="reader", start=subscription_pb2.StartAt(after_position=99))
        assert await code_of(bus.stub.SeekSubscription(beyond)) == "OUT_OF_RANGE"


async def test_a_subscription_from_now_gets_only_what_follows(tmp_path: Path) -> None:
    """No start means: what is published after it was made."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1))
        wanted = subscription_pb2.Subscription(name="reader")
        await bus.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted))
        await bus.publish(event(2))
        puller = await Puller(bus.stub).open()
        assert await puller.take(1) == [(2, 1)]


async def test_many_members_share_the_work_without_overlap(tmp_path: Path) -> None:
    """Every event goes to exactly one of the members, and each gets some."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        members = [await Puller(bus.stub, credit=50).open() for _ in range(2)]
        await bus.publish(*(event(number, subject=f"s/{number}") for number in range(100)))
        shares = await asyncio.gather(*(member.take(50) for member in members))
        assert sorted(position for share in shares for position, _ in share) == list(range(1, 101))


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
