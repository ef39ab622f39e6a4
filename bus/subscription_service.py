"""gRPC in, subscription call, gRPC out: the part of the bus that durable subscriptions and dead letters answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusServicer
from tooloo.bus.v1.dead_letter_pb2 import DeadLetter

from bus import looks
from bus.member import Member
from bus.refusals import draining, refusal_of, refusing
from bus.storage import EventLog, StoredDeadLetter
from bus.subscription import Running
from bus.subscriptions import Subscriptions
from mesh import errors, page

if TYPE_CHECKING:
    # grpcio's classes are generic in its type stubs only
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]


class SubscriptionCalls(EventBusServicer):
    """Answers the calls about subscriptions and dead letters."""

    def __init__(self, log: EventLog, subscriptions: Subscriptions) -> None:
        self._log = log
        self._subscriptions = subscriptions

    async def CreateSubscription(self, request: pb.CreateSubscriptionRequest, context: Context) -> pb.CreateSubscriptionResponse:
        """Makes a subscription, or answers with the same that stands."""
        with refusing():
            subscription, created = await self._subscriptions.create(request.subscription)
        return pb.CreateSubscriptionResponse(subscription=subscription, created=created)

    async def UpdateSubscription(self, request: pb.UpdateSubscriptionRequest, context: Context) -> pb.UpdateSubscriptionResponse:
        """Gives a subscription another definition."""
        with refusing():
            subscription = await self._subscriptions.update(request.name, request.subscription)
        return pb.UpdateSubscriptionResponse(subscription=subscription)

    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Context) -> pb.GetSubscriptionResponse:
        """One subscription with where it stands."""
        running = self._subscriptions.running(request.name)
        return pb.GetSubscriptionResponse(subscription=await self._subscriptions.describe(running))

    async def ListSubscriptions(self, request: pb.ListSubscriptionsRequest, context: Context) -> pb.ListSubscriptionsResponse:
        """Subscriptions by name, in pages."""
        size = page.size_of(request.page_size)
        after = str(page.decode_token(request.page_token).get("name", ""))
        found = await self._subscriptions.list(after, size + 1)
        token = page.encode_token({"name": found[size - 1].name}) if len(found) > size else ""
        return pb.ListSubscriptionsResponse(subscriptions=found[:size], next_page_token=token)

    async def DeleteSubscription(self, request: pb.DeleteSubscriptionRequest, context: Context) -> pb.DeleteSubscriptionResponse:
        """Deletes a subscription with its state and dead letters."""
        with refusing():
            await self._subscriptions.delete(request.name)
        return pb.DeleteSubscriptionResponse()

    async def SeekSubscription(self, request: pb.SeekSubscriptionRequest, context: Context) -> pb.SeekSubscriptionResponse:
        """Moves a subscription to another place in the log."""
        with refusing():
            return pb.SeekSubscriptionResponse(subscription=await self._subscriptions.seek(request.name, request.start))

    async def PauseSubscription(self, request: pb.PauseSubscriptionRequest, context: Context) -> pb.PauseSubscriptionResponse:
        """Stops delivery until it is resumed."""
        with refusing():
            return pb.PauseSubscriptionResponse(subscription=await self._subscriptions.set_paused(request.name, True))

    async def ResumeSubscription(self, request: pb.ResumeSubscriptionRequest, context: Context) -> pb.ResumeSubscriptionResponse:
        """Goes on with delivery."""
        with refusing():
            return pb.ResumeSubscriptionResponse(subscription=await self._subscriptions.set_paused(request.name, False))

    async def Pull(  # type: ignore[override]  # handlers.py: raw
        self, request_iterator: AsyncIterator[pb.PullRequest], context: Context
    ) -> AsyncIterator[bytes]:
        """Takes part in a subscription for as long as the stream lasts; answers are encoded, see handlers.py."""
        first = await anext(request_iterator, None)
        if first is None:
            raise errors.invalid("subscription", "the first message of the stream must name it")
        looks.check_pull(first)
        if not first.subscription:
            raise errors.invalid("subscription", "the first message of the stream must name it")
        running = self._subscriptions.running(first.subscription)
        if self._log.ended:
            raise draining()
        member = running.join(first)
        reading = asyncio.create_task(_listen(running, member, first, request_iterator))
        try:
            with refusing():
                async for response in member.responses(running.stamp):
                    yield response
        finally:
            reading.cancel()
            # a stream that the bus itself ends while it drains uses up no attempt
            running.leave(member, counted=not (member.left or self._log.ended))

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """Dead letters of a subscription, oldest first, in pages."""
        size = page.size_of(request.page_size)
        query = page.fingerprint(request)
        after = page.decode_token(request.page_token, query).get("position", 0)
        if not isinstance(after, int):
            raise errors.invalid("page_token", "this query did not give that token")
        found, more = await self._subscriptions.dead_letters(request.subscription, after, size)
        token = page.encode_token({"position": found[-1].position}, query) if more else ""
        letters = [_dead_letter(request.subscription, stored) for stored in found]
        return pb.ListDeadLettersResponse(dead_letters=letters, next_page_token=token)

    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Context) -> pb.GetDeadLetterResponse:
        """One dead letter."""
        found = await self._subscriptions.dead_letter(request.subscription, request.position)
        if found is None:
            raise errors.not_found("dead letter", f"{request.subscription}/{request.position}")
        return pb.GetDeadLetterResponse(dead_letter=_dead_letter(request.subscription, found))

    async def RedriveDeadLetters(self, request: pb.RedriveDeadLettersRequest, context: Context) -> pb.RedriveDeadLettersResponse:
        """Gives dead letters out again."""
        with refusing():
            positions = _chosen(request.positions, request.all)
            redriven = await self._subscriptions.running(request.subscription).redrive(positions)
        return pb.RedriveDeadLettersResponse(redriven=redriven)

    async def DropDeadLetters(self, request: pb.DropDeadLettersRequest, context: Context) -> pb.DropDeadLettersResponse:
        """Drops dead letters for good."""
        with refusing():
            dropped = await self._subscriptions.drop_dead_letters(request.subscription, _chosen(request.positions, request.all))
        return pb.DropDeadLettersResponse(dropped=dropped)


async def _listen(running: Running, member: Member, first: pb.PullRequest, requests: AsyncIterator[pb.PullRequest]) -> None:
    """Applies what a member says until it says no more; what is wrong with it ends the stream."""
    try:
        running.handle(member, first)
        async for request in requests:
            looks.check_pull(request)
            running.handle(member, request)
            if request.leave:
                member.left = True
                break
        await running.written()
        running.leave(member, counted=not member.left)
        member.finish()
    except Exception as error:  # noqa: BLE001 - it is raised by the stream's other half
        member.fail(refusal_of(error))


def _chosen(positions: Sequence[int], every: bool) -> list[int] | None:
    if not every and not positions:
        raise errors.invalid("positions", "name some, or set `all`")
    return None if every else list(positions)


def _dead_letter(subscription: str, stored: StoredDeadLetter) -> DeadLetter:
    letter = DeadLetter(
        subscription=subscription,
        position=stored.position,
        reason=stored.reason,
        attempts=stored.attempts,
        last_error=stored.error,
    )
    letter.event.ParseFromString(stored.event)
    letter.create_time.FromMicroseconds(stored.create_time_us)
    return letter
