"""Traffic: publishers, followers and members that never give up and note all they see, as tasks on a running bus."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from mesh.follow import BusClient
from mesh.reconnect import is_final, refusal_of
from tests.integration.bus_bench import event
from tests.robustness.record import Membership, Publisher, Record, Stored, Wanted, Watch

log = logging.getLogger(__name__)
HEARTBEAT = 0.1
# a stream that says nothing for so long is given up and opened again, as a careful client does
STALLED = 2.0
# how long a condition is waited for before the test fails; the slow machine of a busy CI included
LONG = 120.0
_REOPEN = 0.05
_CREDIT = 200
_SUBJECTS = 8
_PAGE = 1000


async def publish_until(stop: asyncio.Event, client: BusClient, publisher: Publisher, dice: random.Random, most: int = 5) -> None:
    """A publisher of batches of one to `most` events; each is tried until it is acknowledged."""
    number = 0
    while not stop.is_set():
        kinds = [dice.choice(("started", "stopped")) for _ in range(dice.randint(1, most))]
        batch = [event(number + n, subject=f"s/{dice.randrange(_SUBJECTS)}", kind=kind) for n, kind in enumerate(kinds)]
        number += len(batch)
        publisher.send([one.id for one in batch])
        publisher.acknowledge(await client.publish(batch, timeout=None))


async def follow_into(client: BusClient, watch: Watch) -> None:
    """A follower by the plain stub: what the stream says is noted as it is, heartbeats too; it resumes from its progress."""
    request = pb.FollowRequest(filter=filter_of(watch.wanted), heartbeat=duration_pb2.Duration(nanos=int(HEARTBEAT * 1e9)))

    async def once() -> None:
        request.start.after_position = watch.progress
        call = client.stub.Follow(request)
        try:
            while isinstance(answer := await _heard(call), pb.FollowResponse):
                watch.hear(answer)
        finally:
            call.cancel()

    await _for_ever(once, watch)


async def pull_into(client: BusClient, name: str, membership: Membership) -> None:
    """A member by the plain stub: acknowledges each message when it has noted it, and notes every floor that it is told."""

    async def once() -> None:
        floor_before = membership.floor
        call: Any = client.stub.Pull()
        try:
            opening = pb.PullRequest(subscription=name, credit_events=_CREDIT)
            opening.heartbeat.nanos = int(HEARTBEAT * 1e9)
            await call.write(opening)
            while isinstance(message := await _heard(call), pb.PullResponse):
                membership.hear(message, floor_before)
                if message.positions:
                    acks = pb.PullRequest(fencing_token=message.fencing_token, ack=message.positions)
                    acks.credit_events = len(message.positions)
                    await call.write(acks)
        finally:
            call.cancel()

    await _for_ever(once, membership)


async def handle_into(client: BusClient, name: str, membership: Membership) -> None:
    """A member by the easy helper, which reconnects by itself."""
    async with client.subscription(name, types=membership.wanted.types) as events:
        async for batch in events.batches():
            for delivery in batch:
                membership.handle(delivery.position, delivery.attempt)
            await events.settle([delivery.position for delivery in batch])


async def make_subscription(client: BusClient, name: str, **definition: Any) -> None:
    """Makes a subscription from the beginning; waits for the bus if it must."""
    wanted = subscription_pb2.Subscription(name=name, **definition)
    wanted.start.beginning = True

    async def made() -> bool:
        try:
            await client.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted))
        except grpc.aio.AioRpcError as error:
            if is_final(error):
                raise
            return False
        return True

    await until(made)


async def read_log(client: BusClient) -> list[Stored]:
    """The whole log."""
    found: list[Stored] = []
    token = ""
    while True:
        page = await client.stub.ReadEvents(pb.ReadEventsRequest(page_size=_PAGE, page_token=token), wait_for_ready=True)
        found.extend(Stored(one.position, one.id, one.subject, one.type) for one in page.events)
        token = page.next_page_token
        if not token:
            return found


async def read_dead(client: BusClient, name: str) -> list[int]:
    """Positions of a subscription's dead letters."""
    answer = await client.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription=name, page_size=_PAGE))
    return [letter.position for letter in answer.dead_letters]


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], seconds: float = LONG) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(_REOPEN)


async def caught_up(record: Record, client: BusClient | None = None) -> None:
    """Waits until every follower's bookmark is at the end of the log and every subscription has handled what it names.

    With a client dead letters count too, all of them those of the subscription "reader".
    """

    async def done() -> bool:
        if client is not None:
            record.memberships[0].dead = await read_dead(client, "reader")
        return all(watch.progress >= len(record.log) for watch in record.watches) and all(
            not {stored.position for stored in record.log if stored in each.wanted} - each.settled for each in record.memberships
        )

    await until(done)


@asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, None]) -> AsyncGenerator[list[asyncio.Task[None]], None]:
    """Runs coroutines beside the block and ends them with it; one that failed fails the block."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def filter_of(wanted: Wanted) -> subscription_pb2.EventFilter:
    """The filter of the contract that a model of a filter stands for."""
    return subscription_pb2.EventFilter(types=wanted.types, subject_prefix=wanted.subject_prefix)


async def _heard(call: Any) -> Any:
    """What a stream says next; TimeoutError when it is silent for too long."""
    async with asyncio.timeout(STALLED):
        return await call.read()


async def _for_ever(once: Callable[[], Coroutine[Any, Any, None]], record: Watch | Membership) -> None:
    """Opens a stream again whenever it breaks or stalls; refusals that trying again cannot help are raised."""
    while True:
        try:
            await once()
        except grpc.aio.AioRpcError as error:
            if is_final(error):
                raise refusal_of(error) from error
        except TimeoutError:
            record.stalls += 1
        except asyncio.InvalidStateError as error:
            # the stream broke while an answer was being written
            log.debug("a stream is opened again: %s", error)
        await asyncio.sleep(_REOPEN)


def standing(record: Record) -> Sequence[int]:
    """Sizes of a run for its report: events, publishes, redeliveries."""
    again = sum(len(each.handled) - len({one.position for one in each.handled}) for each in record.memberships)
    return len(record.log), sum(len(each.sent) for each in record.publishers), again
