"""CloudEvents in, CloudEvents out: the part of the bus that speaks their JSON format over HTTP, one event or a batch.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from google.api import httpbody_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusServicer
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.event.v1.event_pb2 import Event

from bus.filters import Filter
from bus.refusals import refusing
from bus.storage import EventLog
from mesh import cloudevents, errors, page
from mesh.cloudevents import BATCH, JSON, STRUCTURED, NotACloudEventError

if TYPE_CHECKING:
    # grpcio's classes are generic in its type stubs only
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

_MAX_VIOLATIONS = 16


class CloudEventCalls(EventBusServicer):
    """Answers the calls that speak CloudEvents; how events are stored and read is its subclass's."""

    _log: EventLog

    async def PublishCloudEvents(self, request: httpbody_pb2.HttpBody, context: Context) -> pb.PublishResponse:
        """Appends the events of a body, all or none, with every check of Publish; an empty batch, which is a valid one, is done."""
        publish = pb.PublishRequest(events=events_of(request.content_type, request.data))
        if not publish.events:
            return pb.PublishResponse(durability=self._log.durability)
        with refusing():
            appended = await self._log.submit(self._log.intake.message(publish))
        return pb.PublishResponse(positions=appended.positions, duplicates=appended.duplicates, durability=self._log.durability)

    async def ReadCloudEvents(self, request: pb.ReadCloudEventsRequest, context: Context) -> httpbody_pb2.HttpBody:
        """A range of the log as a batch; empty only when the head was reached."""
        wanted = Filter(tuple(request.types), frozenset(request.sources), request.subject_prefix)
        after, size = request.after_position, page.size_of(request.page_size)
        with refusing():
            self._log.check_start(after)
            while True:
                found = await self._page(wanted, after, size)
                if found.events or found.progress_position >= found.head_position:
                    return httpbody_pb2.HttpBody(content_type=BATCH, data=batch_of(found.events))
                after = found.progress_position

    async def _page(self, wanted: Filter, after: int, size: int) -> pb.ReadEventsResponse:
        """At most `size` wanted events beyond a position, and how far that looked."""
        raise NotImplementedError


def events_of(content_type: str, body: bytes) -> list[Event]:
    """The events of a body; INVALID_ARGUMENT that names what is wrong: the content type, the body, or a field of an event."""
    listed = _parsed(content_type, body)
    events: list[Event] = []
    failures: list[tuple[int, NotACloudEventError]] = []
    for index, given in enumerate(listed):
        try:
            events.append(cloudevents.from_cloudevent(given))
        except NotACloudEventError as failure:
            failures.append((index, failure))
            if len(failures) >= _MAX_VIOLATIONS:
                break
    if failures:
        violations = [(f"events[{index}]{failure.field and '.'}{failure.field}", failure.text) for index, failure in failures]
        raise errors.invalid_fields(violations, reason=failures[0][1].reason)
    return events


def batch_of(events: Sequence[Event]) -> bytes:
    """Events in the JSON batch format; FAILED_PRECONDITION for one that cannot be told as a CloudEvent."""
    try:
        written = [cloudevents.to_cloudevent(event) for event in events]
    except NotACloudEventError as failure:
        raise errors.failed_precondition("event", f"{failure}; read it with GET /api/v1/events") from failure
    return json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode()


def _parsed(content_type: str, body: bytes) -> list[Any]:
    """What stands in the body, as a list."""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind not in (STRUCTURED, BATCH, JSON):
        raise errors.invalid("Content-Type", f"is {content_type!r}; must be {STRUCTURED}, {BATCH} or {JSON}")
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise errors.invalid("Content-Type", "the charset of JSON is utf-8")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        text = f"the body is not JSON: {error}"
        raise errors.invalid("body", text, reason=ErrorReason.ERROR_REASON_MALFORMED_BODY) from error
    if isinstance(value, list) and kind != STRUCTURED:
        return value
    if isinstance(value, dict) and kind != BATCH:
        return [value]
    wanted = {STRUCTURED: "one event, a JSON object", BATCH: "a list of events"}.get(kind, "an event or a list of events")
    raise errors.invalid("body", f"{kind} holds {wanted}", reason=ErrorReason.ERROR_REASON_MALFORMED_BODY)
