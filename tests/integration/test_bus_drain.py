"""A bus that drains, over real gRPC: streams that would never end by themselves end at once, and say why."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb

from mesh.follow import BusClient
from mesh.reconnect import refusal_of
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event, running_bus

NEVER_INLINE = {"TOOLOO_BUS_INLINE_COMMIT": "0s"}
ALWAYS_INLINE = {"TOOLOO_BUS_INLINE_COMMIT": "10s"}
SETTINGS = [ALWAYS_INLINE, NEVER_INLINE]


async def end_of(call: Any) -> tuple[str, str]:
    """Code and reason of the refusal that ends a stream."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_to_the_end(call)
    refusal = refusal_of(caught.value)
    return refusal.code.name, refusal.reason


async def _read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def idle_publisher(bus: BusBench, answered: int) -> Any:
    """A publish stream on which so many requests were answered, and nothing is under way."""
    call: Any = bus.stub.PublishStream()
    for sequence in range(1, answered + 1):
        await call.write(pb.PublishStreamRequest(events=[event(sequence)], sequence=sequence))
        async with asyncio.timeout(PATIENCE):
            assert (await call.read()).sequence == sequence
    if not answered:
        await call.wait_for_connection()
        # a call behind it on the same connection: the bus knows of the stream once this is answered
        await bus.stub.ListEventTypes(pb.ListEventTypesRequest())
    return call


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("answered", [0, 1, 3])
async def test_idle_publish_streams_end_at_once(tmp_path: Path, settings: dict[str, str], answered: int) -> None:
    """UNAVAILABLE, so that the client comes back to whoever is there then."""
    async with running_bus(tmp_path, settings) as bus:
        calls = [await idle_publisher(bus, answered) for _ in range(5)] if not answered else [await idle_publisher(bus, answered)]
        await bus.bench.drain()
        assert {await end_of(call) for call in calls} == {("UNAVAILABLE", "NOT_READY")}


@pytest.mark.parametrize("settings", SETTINGS)
async def test_busy_publish_streams_end_and_lose_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    """A client that goes on sending: answers for what was taken, then the refusal."""
    async with running_bus(tmp_path, settings) as bus:
        call: Any = bus.stub.PublishStream()
        answered = asyncio.Event()
        last = 0

        async def send() -> None:
            sequence = 0
            while True:
                sequence += 1
                await call.write(pb.PublishStreamRequest(events=[event(sequence)], sequence=sequence))

        async def listen() -> None:
            nonlocal last
            while True:
                last = (await call.read()).sequence
                answered.set()

        sending, listening = asyncio.create_task(send()), asyncio.create_task(listen())
        async with asyncio.timeout(PATIENCE):
            await answered.wait()
            await bus.bench.drain()
            ended = (await asyncio.gather(sending, listening, return_exceptions=True))[1]
        assert isinstance(ended, grpc.aio.AioRpcError)
        # a write that meets the end of its stream makes grpc.aio hide the refusal behind an INTERNAL of its own
        assert refusal_of(ended).code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        assert last <= (await bus.stub.GetBusStats(pb.GetBusStatsRequest())).head_position


async def test_streams_that_come_while_it_drains_are_refused(tmp_path: Path) -> None:
    """Or one that came back at once would stay until the end of the grace."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        await bus.bench.drain()
        pulling = bus.stub.Pull()
        await pulling.write(pb.PullRequest(subscription="reader", credit_events=1))
        publishing = bus.stub.PublishStream()
        assert (await end_of(pulling))[0] == "UNAVAILABLE"
        assert (await end_of(publishing))[0] == "UNAVAILABLE"
        assert (await end_of(bus.stub.Follow(pb.FollowRequest())))[0] == "UNAVAILABLE"


async def test_every_kind_of_idle_stream_ends_by_itself(tmp_path: Path) -> None:
    """So a stop has nothing to wait for, also when an easy client is idle beside them."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        publishing = await idle_publisher(bus, 1)
        puller = await Puller(bus.stub).open()
        client = BusClient(bus.address)
        await client.start()
        await client.publish([event(1)])
        await bus.bench.drain()
        ends = [await end_of(publishing), await end_of(puller.call)]
        assert ends == [("UNAVAILABLE", "NOT_READY")] * 2
        await client.close()


async def test_bytes_that_do_not_decode_are_refused_on_every_hot_call(tmp_path: Path) -> None:
    """INVALID_ARGUMENT, on the first request and on later ones; nothing unexpected happened."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe()
        channel = bus.bench.channel
        opening = pb.PullRequest(subscription="reader", credit_events=1).SerializeToString()
        for method, requests in (("Pull", [b"\x0a\x05"]), ("Pull", [opening, b"\x0a\x05"]), ("PublishStream", [b"\x0a\x05"])):
            call: Any = channel.stream_stream(f"/tooloo.bus.v1.EventBus/{method}")()
            for request in requests:
                await call.write(request)
            assert (await end_of(call))[0] == "INVALID_ARGUMENT"
