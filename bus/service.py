"""gRPC in, log call, gRPC out: publish, read, follow, catalogue and figures. Subscriptions are in subscription_service.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from google.api import httpbody_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb

from bus import definitions, looks, metrics, sse
from bus.cloudevents_service import CloudEventCalls
from bus.filters import Filter
from bus.follower import Follower, Part
from bus.publish_stream import Pipeline
from bus.refusals import draining, refusal_of, refusing, too_many
from bus.settings import BusSettings
from bus.slices import behind, packed
from bus.storage import EventLog
from bus.subscription_service import SubscriptionCalls
from bus.subscriptions import Subscriptions
from mesh import contracts, errors, page

if TYPE_CHECKING:
    # grpcio's classes are generic in its type stubs only
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

# parts of the log that one read may look through for a filter that matches little; the answer says how far it came
_PARTS_PER_READ = 64
_SSE_RETRY_MS = 1000


class EventBusService(CloudEventCalls, SubscriptionCalls):
    """The bus over one log."""

    def __init__(self, log: EventLog, subscriptions: Subscriptions, settings: BusSettings) -> None:
        super().__init__(log, subscriptions)
        self._settings = settings
        self._followers = 0
        self._written = sse.Written(settings.written_bytes)
        self._pipelines: set[Pipeline] = set()

    async def drain(self) -> None:
        """Ends the streams that would never end by themselves: their clients come back and resume."""
        self._log.end_waits()
        self._subscriptions.end_streams(draining())
        for pipeline in self._pipelines:
            pipeline.end(draining())

    async def Publish(self, request: bytes, context: Context) -> pb.PublishResponse:  # type: ignore[override]  # handlers.py: raw
        """Appends events, all or none; answers when they are on disk."""
        with refusing():
            appended = await self._log.submit(self._log.intake.request(request))
        return pb.PublishResponse(positions=appended.positions, duplicates=appended.duplicates, durability=self._log.durability)

    async def PublishStream(  # type: ignore[override]  # handlers.py: raw
        self, request_iterator: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.PublishStreamResponse]:
        """Appends batch after batch; each answer covers every request up to its sequence."""
        if self._log.ended:
            raise draining()
        pipeline = Pipeline(self._log, self._settings.stream_bytes)
        self._pipelines.add(pipeline)
        try:
            with refusing():
                async for answer in pipeline.answers(request_iterator):
                    yield answer
        finally:
            self._pipelines.discard(pipeline)
            pipeline.abandon()

    async def ReadEvents(self, request: pb.ReadEventsRequest, context: Context) -> pb.ReadEventsResponse:
        """A page of the log, oldest first."""
        looks.check_read(request)
        query = page.fingerprint(request)
        after = page.decode_token(request.page_token, query).get("after", request.after_position)
        if not isinstance(after, int):
            raise errors.invalid("page_token", "this query did not give that token")
        size = page.size_of(request.page_size)
        with refusing():
            if request.HasField("from_time") and not request.page_token:
                after = max(after, await self._log.position_before(request.from_time.ToDatetime(tzinfo=UTC)))
            self._log.check_start(after)
            response = await self._page(definitions.checked_filter(request.filter), after, size)
        if response.progress_position < response.head_position:
            response.next_page_token = page.encode_token({"after": response.progress_position}, query)
        return response

    async def Follow(self, request: pb.FollowRequest, context: Context) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Events live from a position, with heartbeats; encoded, see handlers.py."""
        looks.check_follow(request)
        heartbeat = definitions.silence_of(request.heartbeat, self._settings)
        with refusing():
            after = await self._subscriptions.floor_of(request.start if request.HasField("start") else None)
            follower = Follower(self._log, definitions.checked_filter(request.filter), after)
            async with self._counted():
                async for part in follower.follow(heartbeat):
                    if not part.slices:
                        yield await self._heartbeat(part.progress)
                    for response in self._follow_responses(part, follower, stamp=request.stamp_positions):
                        yield response
        raise draining()

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
                async for part in follower.follow(self._settings.heartbeat.total_seconds()):
                    yield _body(self._sse_part(part))
                    if part.slices and part.progress >= self._log.head:
                        # the first event after a rest has left at once; what comes while one looks at it leaves together
                        await asyncio.sleep(self._settings.sse_linger.total_seconds())
        except Exception as error:
            # over HTTP/1.1 an error in the middle of a stream looks like its end, so it is also said in the stream
            refusal = refusal_of(error)
            if isinstance(refusal, errors.Refusal):
                yield _body(sse.failure(refusal))
            raise refusal from error
        yield _body(sse.farewell())

    async def EraseSubject(self, request: pb.EraseSubjectRequest, context: Context) -> pb.EraseSubjectResponse:
        """Takes every event of a subject out of the log, for good."""
        with refusing():
            return pb.EraseSubjectResponse(erased=await self._subscriptions.erase(request.subject))

    async def CompactLog(self, request: pb.CompactLogRequest, context: Context) -> pb.CompactLogResponse:
        """Keeps of each subject only the newest event of each type named."""
        with refusing():
            removed = await self._subscriptions.compact(request.types, request.min_age.ToTimedelta())
        return pb.CompactLogResponse(removed=removed)

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
            durability=log.durability,
            way=log.way,
            remembered_ids=log.remembered_ids,
            commit_time=definitions.duration_message(timedelta(seconds=log.commit_seconds)),
            disk_full=log.disk_full,
            removed_events=log.removed,
        )

    async def GetBusMetrics(self, request: pb.GetBusMetricsRequest, context: Context) -> httpbody_pb2.HttpBody:
        """How the bus does, for Prometheus."""
        stats = await self.GetBusStats(pb.GetBusStatsRequest(), context)
        text = metrics.exposition(stats, self._log.filter_failures, self._subscriptions.redeliveries())
        return httpbody_pb2.HttpBody(content_type=metrics.CONTENT_TYPE, data=text)

    async def _page(self, wanted: Filter, after: int, size: int) -> pb.ReadEventsResponse:
        return await self._log.undisturbed(lambda: self._read_page(Follower(self._log, wanted, after), after, size))

    async def _read_page(self, follower: Follower, after: int, size: int) -> pb.ReadEventsResponse:
        response = pb.ReadEventsResponse(progress_position=after)
        bytes_left = self._settings.read_bytes
        for _ in range(_PARTS_PER_READ):
            part = await follower.read(self._settings.message_bytes)
            for event in (event for piece in part.slices for event in piece.decode()):
                if len(response.events) >= size or bytes_left <= 0:
                    response.head_position = self._log.head
                    return response
                response.events.append(event)
                response.progress_position = event.position
                bytes_left -= event.ByteSize()
            response.progress_position = part.progress
            if part.progress >= self._log.head:
                break
        response.head_position = self._log.head
        return response

    async def _heartbeat(self, progress: int) -> bytes:
        head = self._log.head
        response = pb.FollowResponse(progress_position=progress, head_position=head, lag_events=head - progress)
        response.lag.CopyFrom(definitions.duration_message(await self._log.age_of(progress + 1)))
        return response.SerializeToString()

    def _follow_responses(self, part: Part, follower: Follower, *, stamp: bool) -> Iterator[bytes]:
        """A header and, behind it, stored bytes for each message: protobuf reads both as one."""
        groups = list(packed(part.slices, self._settings.message_bytes, self._settings.message_events))
        left, progress = self._log.left, part.progress
        for number, group in enumerate(groups, 1):
            if left != self._log.left:
                # something left the log while the message before was sent: the rest is read anew
                follower.go_back(progress)
                return
            first, last = group[0].positions[0], group[-1].last
            progress = part.progress if number == len(groups) else last
            header = pb.FollowResponse(first_position=first, progress_position=progress, head_position=self._log.head)
            header.lag_events = header.head_position - progress
            if last - first + 1 != sum(len(piece.positions) for piece in group):
                header.offsets.extend(position - first for piece in group for position in piece.positions)
            encoded = header.SerializeToString()
            yield behind(encoded, group) if stamp else b"".join([encoded, *(piece.events for piece in group)])

    def _sse_part(self, part: Part) -> bytes:
        if not part.slices:
            return sse.heartbeat(part.progress, self._log.head)
        return b"".join(map(self._written.of, part.slices))

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


def _metadata(context: Context, name: str) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == name), "")


def _body(data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=sse.CONTENT_TYPE, data=data)


def _sse_filter(request: pb.FollowSseRequest) -> Filter:
    wanted = Filter(tuple(request.types), frozenset(request.sources), request.subject_prefix, cel=request.cel)
    return definitions.compiled(wanted, "cel")
