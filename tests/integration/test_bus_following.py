"""The log followed through its server: over gRPC and as Server-Sent Events, from the past into the present, to the last word."""

import asyncio
import json
from pathlib import Path

import grpc
from google.api import httpbody_pb2
from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from tests.integration.bus_asking import next_with_events, read_sse, read_to_end, refused
from tests.integration.bus_bench import PATIENCE, event, number_of, running_bus


async def test_follow_gives_the_past_then_the_present_and_beats(tmp_path: Path) -> None:
    """A follower gets what stands after its start, then what comes, and heartbeats that carry head and progress meanwhile."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1), event(2))
        call = bus.stub.Follow(
            pb.FollowRequest(
                start=subscription_pb2.StartAt(after_position=1),
                filter=subscription_pb2.EventFilter(types=["service.started"]),
                heartbeat=duration_pb2.Duration(nanos=50_000_000),
            )
        )
        opening = await call.read()
        assert isinstance(opening, pb.FollowResponse)
        assert (len(opening.events), opening.progress_position, opening.head_position) == (0, 1, 2)
        past = await call.read()
        assert isinstance(past, pb.FollowResponse)
        assert ([number_of(one) for one in past.events], past.first_position) == ([2], 2)
        await bus.publish(event(3), event(4, kind="stopped"), event(5))
        live = await next_with_events(call)
        assert [live.first_position + offset for offset in live.offsets] == [3, 5]
        await bus.publish(event(6, kind="stopped"))
        async with asyncio.timeout(PATIENCE):
            while True:
                beat = await call.read()
                assert isinstance(beat, pb.FollowResponse)
                assert not beat.events
                if beat.progress_position == 6:
                    break
        call.cancel()


async def test_a_slow_follower_falls_back_to_the_disk(tmp_path: Path) -> None:
    """With almost no memory for recent batches a follower still gets every event in order."""
    async with running_bus(tmp_path, {"TOOLOO_BUS_RECENT_BYTES": "1", "TOOLOO_BUS_READ_BYTES": "1024"}) as bus:
        call = bus.stub.Follow(pb.FollowRequest(start=subscription_pb2.StartAt(beginning=True), stamp_positions=True))
        for number in range(30):
            await bus.publish(*(event(number) for _ in range(10)))
        found: list[int] = []
        while len(found) < 300:
            found.extend(one.position for one in (await next_with_events(call)).events)
        assert found == list(range(1, 301))
        call.cancel()


async def test_sse_carries_the_event_as_json_and_resumes(tmp_path: Path) -> None:
    """Id is the position, event the type, data the event as JSON with its Any printed; Last-Event-ID goes on behind it."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1), event(2, kind="stopped"), event(3))
        blocks = await read_sse(bus, 3, from_beginning=True, types=["service.started"])
        assert [(block["id"], block["event"]) for block in blocks] == [("1", "service.started"), ("3", "service.started")]
        data = json.loads(blocks[0]["data"])
        assert (data["position"], data["data"]["pid"]) == ("1", 1)
        assert data["data"]["@type"].endswith("tooloo.system.v1.ServiceStarted")
        resumed = await read_sse(bus, 3, last_event_id="1")
        assert [block["id"] for block in resumed] == ["2", "3"]
        code, _, fields = await refused(bus.stub.FollowSse(pb.FollowSseRequest(), metadata=(("last-event-id", "x"),)).read())
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["Last-Event-ID"])


async def test_sse_opens_at_once_and_beats(tmp_path: Path) -> None:
    """Headers come before any event, and silence is filled with comments that move the bookmark."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1))
        call = bus.stub.FollowSse(pb.FollowSseRequest())
        async with asyncio.timeout(PATIENCE):
            await call.initial_metadata()
            text = ""
            while ": heartbeat" not in text:
                body = await call.read()
                assert isinstance(body, httpbody_pb2.HttpBody)
                text += body.data.decode()
        assert ": heartbeat head=1\nid: 1\n\n" in text
        call.cancel()


async def test_draining_ends_streams_with_a_last_word(tmp_path: Path) -> None:
    """A follower is told that the bus drains: UNAVAILABLE over gRPC, a last message over SSE."""
    async with running_bus(tmp_path) as bus:
        sse = bus.stub.FollowSse(pb.FollowSseRequest())
        follow = bus.stub.Follow(pb.FollowRequest())
        await sse.read()
        await follow.read()
        await bus.bench.drain()
        text = ""
        async with asyncio.timeout(PATIENCE):
            while isinstance(body := await sse.read(), httpbody_pb2.HttpBody):
                text += body.data.decode()
        assert "event: end" in text
        code, reason, _ = await refused(read_to_end(follow))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")


async def test_a_stream_over_http_gathers_what_comes_at_once(tmp_path: Path) -> None:
    """The first event after a rest leaves alone; those that come right behind it leave together."""
    async with running_bus(tmp_path, {"TOOLOO_BUS_SSE_LINGER": "3s"}) as bus, asyncio.timeout(PATIENCE):
        stream = bus.stub.FollowSse(pb.FollowSseRequest())
        parts: list[int] = []

        async def read(events: int) -> None:
            while sum(parts) < events:
                body = await stream.read()
                assert isinstance(body, httpbody_pb2.HttpBody)
                if count := body.data.count(b"data:"):
                    parts.append(count)

        await stream.read()
        await bus.publish(event(1))
        await read(1)
        for number in (2, 3, 4):
            await bus.publish(event(number))
        await read(4)
        assert parts == [1, 3]
        stream.cancel()
