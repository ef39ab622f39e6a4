"""Durable subscriptions as resources, on every way: made, found, changed, moved, paused, deleted, and kept over a restart."""

import asyncio
import time
from datetime import UTC, datetime

from google.protobuf import timestamp_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter, Subscription

from tests.conformance.asking import follow_positions, moment, next_answer, refused, start
from tests.conformance.ways import RunBus
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event

STARTED = EventFilter(types=["service.started"])


async def test_making_the_same_again_changes_nothing(bus: BusBench) -> None:
    """Create may be repeated, also over a restart; another definition under the name is refused."""
    request = pb.CreateSubscriptionRequest(subscription=Subscription(name="reader", filter=STARTED))
    assert (await bus.stub.CreateSubscription(request)).created
    await bus.bench.restart()
    assert not (await bus.stub.CreateSubscription(request)).created
    request.subscription.max_deliveries = 3
    told = await refused(bus.stub.CreateSubscription(request))
    assert (told.code, told.reason) == ("ALREADY_EXISTS", "RESOURCE_EXISTS")


async def test_an_update_changes_the_rules_and_keeps_the_place(bus: BusBench) -> None:
    """A narrower filter holds from here on; what was settled stays settled, also over a restart."""
    await bus.subscribe()
    await bus.publish(event(1, subject="a"), event(2, subject="b", kind="stopped"), event(3, subject="c"))
    puller = await Puller(bus.stub, credit=1).open()
    assert await puller.take(1) == [(1, 1)]
    await puller.say(ack=[1])
    await bus.settled(1)
    update = pb.UpdateSubscriptionRequest(name="reader", subscription=Subscription(name="reader", filter=STARTED))
    shown = (await bus.stub.UpdateSubscription(update)).subscription
    assert (shown.ack_floor, list(shown.filter.types)) == (1, ["service.started"])
    await bus.bench.restart()
    again = await Puller(bus.stub).open()
    assert await again.take(1) == [(3, 1)]


async def test_subscriptions_come_in_pages_by_name(bus: BusBench) -> None:
    """Each once, and no token at the end."""
    for name in ("b", "c", "a"):
        await bus.subscribe(name)
    page = await bus.stub.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=2))
    rest = await bus.stub.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=2, page_token=page.next_page_token))
    assert [one.name for one in (*page.subscriptions, *rest.subscriptions)] == ["a", "b", "c"]
    assert rest.next_page_token == ""


async def test_a_deleted_subscription_is_gone(bus: BusBench) -> None:
    """Its streams end with NOT_FOUND, also after a restart, and its name is free."""
    await bus.subscribe()
    puller = await Puller(bus.stub).open()
    await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="reader"))
    assert (await refused(puller.call.read())).code == "NOT_FOUND"
    await bus.bench.restart()
    assert (await refused(bus.stub.GetSubscription(pb.GetSubscriptionRequest(name="reader")))).code == "NOT_FOUND"
    await bus.subscribe()
    assert (await bus.standing()).ack_floor == 0


async def test_a_stream_must_name_a_subscription_that_stands(bus: BusBench) -> None:
    """NOT_FOUND for an unknown name, INVALID_ARGUMENT for none."""
    assert (await refused(Puller(bus.stub, "nobody").open())).code == "NOT_FOUND"
    told = await refused(Puller(bus.stub, "").open())
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ["subscription"])


async def test_no_start_means_what_is_published_from_now_on(bus: BusBench) -> None:
    """The past is not delivered, and counts as settled."""
    await bus.publish(event(1))
    await bus.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=Subscription(name="reader")))
    assert (await bus.standing()).ack_floor == 1
    await bus.publish(event(2))
    assert await (await Puller(bus.stub).open()).take(1) == [(2, 1)]


async def test_a_subscription_may_begin_at_a_position(bus: BusBench) -> None:
    """After it, that is; past the end is OUT_OF_RANGE."""
    await bus.publish(event(1), event(2))
    await bus.subscribe(start=start(after_position=1))
    assert await (await Puller(bus.stub).open()).take(1) == [(2, 1)]
    beyond = Subscription(name="other", start=start(after_position=3))
    assert (await refused(bus.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=beyond)))).code == "OUT_OF_RANGE"


async def test_pause_holds_delivery_until_resume(bus: BusBench) -> None:
    """Also over a restart; nothing is lost."""
    await bus.subscribe()
    shown = await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
    assert shown.subscription.state == Subscription.STATE_PAUSED
    await bus.publish(event(1))
    await bus.bench.restart()
    puller = await Puller(bus.stub).open()
    # a heartbeat instead of the event: the bus had nothing to give for that long
    assert list((await puller.answer()).positions) == []
    await bus.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
    assert await puller.take(1) == [(1, 1)]


async def test_seek_moves_back_to_a_position_and_fences_what_was_out(bus: BusBench) -> None:
    """The stream gets another token; an ack under the old one is refused and settles nothing."""
    await bus.subscribe()
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 4)))
    puller = await Puller(bus.stub).open()
    old = puller.token
    await puller.take(3)
    await puller.say(ack=[1, 2])
    await bus.settled(2)
    seek = pb.SeekSubscriptionRequest(name="reader", start=start(beginning=True))
    assert (await bus.stub.SeekSubscription(seek)).subscription.ack_floor == 0
    await puller.call.write(pb.PullRequest(fencing_token=old, ack=[3]))
    assert await puller.take(3) == [(1, 1), (2, 1), (3, 1)]
    assert puller.token != old
    assert (await bus.standing()).ack_floor == 0


async def test_seek_moves_to_a_time(bus: BusBench) -> None:
    """What was stored before counts as settled."""
    await bus.subscribe()
    await bus.publish(event(1))
    await asyncio.sleep(0.01)
    between = timestamp_pb2.Timestamp()
    between.FromDatetime(datetime.now(UTC))
    await asyncio.sleep(0.01)
    await bus.publish(event(2))
    seek = pb.SeekSubscriptionRequest(name="reader", start=start(time=between))
    assert (await bus.stub.SeekSubscription(seek)).subscription.ack_floor == 1
    assert await (await Puller(bus.stub).open()).take(1) == [(2, 1)]


async def test_seek_past_the_end_is_out_of_range(bus: BusBench) -> None:
    """And changes nothing."""
    await bus.subscribe()
    await bus.publish(event(1))
    seek = pb.SeekSubscriptionRequest(name="reader", start=start(after_position=9))
    assert (await refused(bus.stub.SeekSubscription(seek))).code == "OUT_OF_RANGE"
    assert (await bus.standing()).ack_floor == 0


async def test_what_it_shows_is_so(bus: BusBench) -> None:
    """Backlog, in flight, members, head and floor follow what happens."""
    await bus.subscribe()
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 6)))
    puller = await Puller(bus.stub, credit=3).open()
    await puller.take(3)
    await puller.say(ack=[1])
    shown = await bus.settled(1)
    assert (shown.backlog, shown.in_flight, shown.members, shown.head_position) == (4, 2, 1, 5)
    assert shown.oldest_unacknowledged_age.ToTimedelta().total_seconds() >= 0
    assert shown.HasField("create_time")


async def test_a_subscription_may_begin_at_a_time(bus: BusBench) -> None:
    """With what was stored then; what stood before counts as settled."""
    await bus.publish(event(1))
    await asyncio.sleep(0.02)
    then = moment(time.time())
    await asyncio.sleep(0.02)
    await bus.publish(event(2))
    assert (await bus.subscribe(start=start(time=then))).ack_floor == 1
    assert await (await Puller(bus.stub).open()).take(1) == [(2, 1)]


async def test_not_the_beginning_names_no_place(bus: BusBench) -> None:
    """`beginning: false` is the same as no start, for whatever begins: now."""
    await bus.publish(event(1))
    assert (await bus.subscribe(start=start(beginning=False))).ack_floor == 1
    await bus.subscribe("other")
    moved = await bus.stub.SeekSubscription(pb.SeekSubscriptionRequest(name="other", start=start(beginning=False)))
    assert moved.subscription.ack_floor == 1
    call = bus.stub.Follow(pb.FollowRequest(start=start(beginning=False)))
    await next_answer(call, lambda _: True)
    await bus.publish(event(2))
    assert await follow_positions(call, 1) == [2]


async def test_nothing_begins_before_what_is_kept(run_bus: RunBus) -> None:
    """A subscription, a seek and a follower are refused with the range that stands; the one that was to move stays."""
    async with run_bus({"TOOLOO_BUS_RETENTION_COUNT": "1", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}) as bus:
        for number in range(1, 5):
            await bus.publish(event(number))
        async with asyncio.timeout(PATIENCE):
            while True:
                stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
                if stats.first_position == 4:
                    break
                await asyncio.sleep(0.01)
        # a time is no position: whatever is kept was stored later
        assert (await bus.subscribe("early", start=start(time=moment(1)))).ack_floor == 3
        await bus.subscribe("other")
        gone = start(after_position=1)
        for call in (
            bus.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=Subscription(name="reader", start=gone))),
            bus.stub.SeekSubscription(pb.SeekSubscriptionRequest(name="other", start=gone)),
            bus.stub.Follow(pb.FollowRequest(start=gone)).read(),
        ):
            told = await refused(call)
            assert (told.code, told.metadata) == ("OUT_OF_RANGE", {"first": "4", "head": "4"})
        assert await (await Puller(bus.stub, "other").open()).take(1) == [(4, 1)]


async def test_a_subscription_gets_what_every_part_of_its_filter_names(bus: BusBench) -> None:
    """Types, sources, subject prefix and attributes together; what lies between holds up nothing."""
    wanted = EventFilter(types=["service.*"], sources=["system"], subject_prefix="a/", attributes={"k": "v"})
    await bus.subscribe(filter=wanted)
    await bus.publish(event(1, subject="a/1", k="v"), event(2, subject="a/2", k="w"), event(3, subject="b/1", k="v"))
    await bus.publish(event(4, subject="a/3", k="v", kind="stopped"), event(5, subject="a/4"))
    puller = await Puller(bus.stub).open()
    assert await puller.take(2) == [(1, 1), (4, 1)]
    await puller.say(ack=[1, 4])
    await bus.settled(5)


async def test_without_an_order_nothing_waits_for_its_subject(bus: BusBench) -> None:
    """A later event goes out while an earlier one of its subject is."""
    await bus.subscribe()
    await bus.publish(event(1), event(2))
    for position in (1, 2):
        assert await (await Puller(bus.stub, credit=1).open()).take(1) == [(position, 1)]
