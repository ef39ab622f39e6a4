"""How the bus is asked in tests of its server: refusals taken apart, reads over all pages, streams read until something is so."""

import asyncio

import grpc
import pytest
from google.api import httpbody_pb2
from google.rpc import error_details_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from mesh.reconnect import refusal_of
from tests.integration.bus_bench import PATIENCE, BusBench


async def refused(call: object) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason and violated fields of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any awaitable call of a stub
    refusal = refusal_of(caught.value)
    fields = [
        violation.field
        for detail in refusal.details
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    ]
    return refusal.code, refusal.reason, fields


async def read_all(bus: BusBench, **request: object) -> list[Event]:
    """Every event that a read gives, over all its pages."""
    found: list[Event] = []
    token = ""
    while True:
        answer = await bus.stub.ReadEvents(pb.ReadEventsRequest(page_token=token, **request))  # type: ignore[arg-type]  # passed on
        found.extend(answer.events)
        token = answer.next_page_token
        if not token:
            return found


async def next_with_events(call: grpc.aio.UnaryStreamCall[pb.FollowRequest, pb.FollowResponse]) -> pb.FollowResponse:
    """The next answer that is no heartbeat."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await call.read()
            assert isinstance(answer, pb.FollowResponse)
            if answer.events:
                return answer


async def read_sse(bus: BusBench, until: int, *, last_event_id: str = "", **request: object) -> list[dict[str, str]]:
    """Reads Server-Sent Events until the event with this position; each as its fields."""
    metadata = (("last-event-id", last_event_id),) if last_event_id else ()
    call = bus.stub.FollowSse(pb.FollowSseRequest(**request), metadata=metadata)  # type: ignore[arg-type]  # passed on
    text = ""
    async with asyncio.timeout(PATIENCE):
        while f"id: {until}\nevent:" not in text:
            body = await call.read()
            assert isinstance(body, httpbody_pb2.HttpBody)
            assert body.content_type == "text/event-stream"
            text += body.data.decode()
    call.cancel()
    assert text.startswith("retry: ")
    return [
        dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        for block in text.split("\n\n")
        if "\nevent:" in block
    ]


async def read_to_end(call: grpc.aio.UnaryStreamCall[pb.FollowRequest, pb.FollowResponse]) -> None:
    """Reads until the stream ends."""
    async with asyncio.timeout(PATIENCE):
        while isinstance(await call.read(), pb.FollowResponse):
            pass
