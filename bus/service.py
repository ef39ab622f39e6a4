"""gRPC in, log call, gRPC out: publish, read, follow, catalogue and figures. Subscriptions are in subscription_service.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

from google.api import httpbody_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from bus import check, definitions, envelope, metrics, sse
from bus.cloudevents_service import CloudEventCalls
from bus.filters import Filter
from bus.follower import Follower, Part
from bus.log import Log
from bus.refusals import refusal_of, refusing, too_many
from bus.settings import BusSettings
from bus.subscription_service import SubscriptionCalls
from bus.subscriptions import Subscriptions
from mesh import contracts, errors, page
from mesh.boundary import violations_of

if TYPE_CHECKING:
    # grpcio's classes are generic in its type stubs only
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

# the general check costs 15 microseconds an event, so these two check their requests themselves
SELF_VALIDATING = frozenset({"tooloo.bus.v1.EventBus/Publish", "tooloo.bus.v1.EventBus/PublishStream"})
# parts of the log that one read may look through for a filter that matches little; the answer says how far it came
_PARTS_PER_READ = 64
_SSE_RETRY_MS = 1000


class EventBusService(CloudEventCalls, SubscriptionCalls):
    """The bus over one log."""

    def __init__(self, log: Log, subscriptions: Subscriptions, settings: BusSettings) -> None:
        super().__init__(log, subscriptions)
        self._settings = settings
        self._followers = 0

    async def drain(self) -> None:
        """Ends the streams that would never end by themselves: their clients come back and resume."""
        self._log.end_waits()
        self._subscriptions.end_streams(_draining())

    async def Publish(self, request: pb.PublishRequest, context: Context) -> pb.PublishResponse:
        """Appends events, all or none; answers when they are on disk."""
        return await self._publish(request)

    async def _publish(self, request: pb.PublishRequest) -> pb.PublishResponse:
        self._check(request)
        with refusing():
            appended = await self._log.append(request.events, request.expected_versions)
        return pb.PublishResponse(
            positions=appended.positions, duplicates=appended.duplicates, durability=pb.PublishResponse.DURABILITY_FSYNC
        )

    async def PublishStream(
        self, request_iterator: AsyncIterator[pb.PublishStreamRequest], context: Context
    ) -> AsyncIterator[pb.PublishStreamResponse]:
        """Appends batch after batch; each answer covers every request up to its sequence."""
        sequence = duplicates = 0
        async for request in request_iterator:
            sequence += 1
            if request.sequence != sequence:
                raise errors.invalid("sequence", f"must be {sequence}: it grows by one with each request, from 1")
            self._check(request)
            with refusing():
                appended = await self._log.append(request.events)
            duplicates += appended.duplicates
            yield pb.PublishStreamResponse(
                sequence=sequence,
                last_position=appended.positions[-1],
                duplicates=duplicates,
                durability=pb.PublishResponse.DURABILITY_FSYNC,
            )

    async def ReadEvents(self, request: pb.ReadEventsRequest, context: Context) -> pb.ReadEventsResponse:
        """A page of the log, oldest first."""
        query = page.fingerprint(request)
        after = page.decode_token(request.page_token, query).get("after", request.after_position)
        if not isinstance(after, int):
            raise errors.invalid("page_token", "this query did not give that token")
        size = page.size_of(request.page_size)
        with refusing():
            if request.HasField("from_time") and not request.page_token:
                after = max(after, await self._log.position_before(request.from_time.ToDatetime(tzinfo=UTC)))
            self._log.check_start(after)
            response = await self._page(Follower(self._log, definitions.checked_filter(request.filter), after), after, size)
        if response.progress_position < response.head_position:
            response.next_page_token = page.encode_token({"after": response.progress_position}, query)
        return response

    async def Follow(self, request: pb.FollowRequest, context: Context) -> AsyncIterator[pb.FollowResponse]:
        """Events live from a position, with heartbeats."""
        heartbeat = request.heartbeat.ToTimedelta() or self._settings.heartbeat
        with refusing():
            after = await self._subscriptions.floor_of(request.start if request.HasField("start") else None)
            follower = Follower(self._log, definitions.checked_filter(request.filter), after)
            async with self._counted():
                async for part in follower.follow(heartbeat.total_seconds(), self._settings.message_bytes):
                    yield self._follow_response(part, stamp=request.stamp_positions)
        raise _draining()

    async def FollowSse(self, request: pb.FollowSseRequest, context: Context) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Events live as Server-Sent Events; the first message leaves at once, and the last one says why the stream ends."""
        with refusing():
            resume = sse.position_of(_metadata(context, sse.LAST_EVENT_ID))
            follower = Follower(self._log, _sse_filter(request), self._sse_start(request, resume))
        # an EventSource calls itself open when the headers come, not when the first event does
        await context.send_initial_metadata(())
        yield _body(sse.opening(_SSE_RETRY_MS))
        try:
            async with self._counted():
                async for part in follower.follow(self._settings.heartbeat.total_seconds(), self._settings.message_bytes):
                    yield _body(self._sse_part(part))
        except Exception as error:
            # over HTTP/1.1 an error in the middle of a stream looks like its end, so it is also said in the stream
            refusal = refusal_of(error)
            if isinstance(refusal, errors.Refusal):
                yield _body(sse.failure(refusal))
            raise refusal from error
        yield _body(sse.farewell())

    async def ListEventTypes(self, request: pb.ListEventTypesRequest, context: Context) -> pb.ListEventTypesResponse:
        """The catalogue."""
        return pb.ListEventTypesResponse(
            event_types=[
                pb.EventType(type=entry.type, message=entry.message, owner=entry.owner, description=entry.description)
                for entry in contracts.catalogue().values()
            ]
        )

    async def GetBusStats(self, request: pb.GetBusStatsRequest, context: Context) -> pb.GetBusStatsResponse:
        """How the bus does."""
        log = self._log
        return pb.GetBusStatsResponse(
            first_position=log.first,
            head_position=log.head,
            size_bytes=log.size_bytes,
            published_events=log.published,
            commits=log.commits,
            duplicates=log.duplicates,
            followers=self._followers,
            subscriptions=await self._subscriptions.list("", self._settings.max_subscriptions),
            durability=pb.PublishResponse.DURABILITY_FSYNC,
        )

    async def GetBusMetrics(self, request: pb.GetBusMetricsRequest, context: Context) -> httpbody_pb2.HttpBody:
        """How the bus does, for Prometheus."""
        stats = await self.GetBusStats(pb.GetBusStatsRequest(), context)
        text = metrics.exposition(stats, self._log.filter_failures, self._subscriptions.redeliveries())
        return httpbody_pb2.HttpBody(content_type=metrics.CONTENT_TYPE, data=text)

    def _check(self, request: pb.PublishRequest | pb.PublishStreamRequest) -> None:
        """Refuses by field what may not enter the log."""
        expected = request.expected_versions if isinstance(request, pb.PublishRequest) else {}
        if not envelope.surely_valid(request.events, len(request.events), expected) and (found := violations_of(request)):
            raise errors.invalid_fields(found)
        check.check_publish(request.events, self._settings.max_event_bytes)

    async def _page(self, follower: Follower, after: int, size: int) -> pb.ReadEventsResponse:
        response = pb.ReadEventsResponse(progress_position=after)
        bytes_left = self._settings.read_bytes
        for _ in range(_PARTS_PER_READ):
            part = await follower.read(self._settings.message_bytes)
            for position, event in part.events:
                if len(response.events) >= size or bytes_left <= 0:
                    response.head_position = self._log.head
                    return response
                event.position = position
                response.events.append(event)
                response.progress_position = position
                bytes_left -= event.ByteSize()
            response.progress_position = part.progress
            if part.progress >= self._log.head:
                break
        response.head_position = self._log.head
        return response

    def _follow_response(self, part: Part, *, stamp: bool) -> pb.FollowResponse:
        response = pb.FollowResponse(progress_position=part.progress, head_position=self._log.head)
        if not part.events:
            return response
        first, last = part.events[0][0], part.events[-1][0]
        response.first_position = first
        if last - first + 1 != len(part.events):
            response.offsets.extend(position - first for position, _ in part.events)
        if stamp:
            for position, event in part.events:
                event.position = position
        response.events.extend(event for _, event in part.events)
        return response

    def _sse_part(self, part: Part) -> bytes:
        if not part.events:
            return sse.heartbeat(part.progress, self._log.head)
        return b"".join(sse.event(position, event) for position, event in part.events)

    def _sse_start(self, request: pb.FollowSseRequest, resume: int | None) -> int:
        after = request.after_position if resume is None else resume
        if after:
            self._log.check_start(after)
            return after
        if request.from_beginning or resume == 0:
            return max(0, (self._log.first or self._log.head + 1) - 1)
        return self._log.head

    def _counted(self) -> _Counted:
        if self._followers >= self._settings.max_followers:
            raise too_many(BusSettings.env_name("max_followers"), "followers", self._settings.max_followers)
        return _Counted(self)

    def count_follower(self, change: int) -> None:
        """Counts followers that come and go."""
        self._followers += change


class _Counted:
    """Counts a follower while it follows."""

    def __init__(self, service: EventBusService) -> None:
        self._service = service

    async def __aenter__(self) -> None:
        self._service.count_follower(1)

    async def __aexit__(self, *_: object) -> None:
        self._service.count_follower(-1)


def _draining() -> errors.Refusal:
    return errors.unavailable("bus", reason=ErrorReason.ERROR_REASON_NOT_READY, detail="it drains")


def _metadata(context: Context, name: str) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == name), "")


def _body(data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=sse.CONTENT_TYPE, data=data)


def _sse_filter(request: pb.FollowSseRequest) -> Filter:
    wanted = Filter(tuple(request.types), frozenset(request.sources), request.subject_prefix, cel=request.cel)
    return definitions.compiled(wanted, "cel")
