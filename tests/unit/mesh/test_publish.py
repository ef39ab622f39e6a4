"""The publisher of the client, against a server that answers, stalls or refuses as the test says: callers always hear something."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb

from mesh import publish
from mesh.errors import Refusal
from mesh.follow import BusClient
from mesh.reconnect import Backoff
from mesh.writing import written
from tests.support.events import sample, sized
from tests.support.waiting import turns, until

PATIENCE = 60.0
SERVICE = "tooloo.bus.v1.EventBus"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a while is no stalled stream."""
    monkeypatch.setattr(publish, "_STALLED_SECONDS", 60.0)


class Server:
    """A bus as far as publishing goes: gives positions in the order of ids, each id one, unless it stalls."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.streams = 0
        # of the newest stream
        self.context: Any = None
        self.calls = 0
        self.reads = asyncio.Event()
        self.answers = asyncio.Event()
        self.reads.set()
        self.answers.set()
        # what ends a stream at its next request
        self.ends_with: grpc.StatusCode | None = None

    def positions_of(self, events: Any) -> list[int]:
        """Stores what is new; where each stands."""
        self.ids.extend(event.id for event in events if event.id not in self.ids)
        return [self.ids.index(event.id) + 1 for event in events]

    async def stream(self, requests: Any, context: Any) -> AsyncIterator[pb.PublishStreamResponse]:
        """PublishStream."""
        self.streams += 1
        self.context = context
        await self.reads.wait()
        async for request in requests:
            if self.ends_with:
                await context.abort(self.ends_with, "as the test says")
            positions = self.positions_of(request.events)
            await self.answers.wait()
            yield pb.PublishStreamResponse(sequence=request.sequence, positions=positions, last_position=max(positions, default=0))

    async def publish(self, request: Any, context: Any) -> pb.PublishResponse:
        """Publish."""
        self.calls += 1
        if self.ends_with:
            await context.abort(self.ends_with, "as the test says")
        await self.answers.wait()
        return pb.PublishResponse(positions=self.positions_of(request.events))


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[Server, BusClient]]:
    """A server and a client of it."""
    bus, server = Server(), grpc.aio.server()
    handlers: dict[str, Any] = {
        "PublishStream": grpc.stream_stream_rpc_method_handler(
            bus.stream, pb.PublishStreamRequest.FromString, pb.PublishStreamResponse.SerializeToString
        ),
        "Publish": grpc.unary_unary_rpc_method_handler(
            bus.publish, pb.PublishRequest.FromString, pb.PublishResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    target = f"unix:{path}/bus.sock"
    server.add_insecure_port(target)
    await server.start()
    client = BusClient(target)
    await client.start()
    try:
        yield bus, client
    finally:
        await client.close()
        await server.stop(None)


def publisher_of(client: BusClient) -> publish.Publisher:
    """The part that is tested."""
    assert client._publisher
    return client._publisher


async def outcome(publishing: Any) -> Any:
    """Positions, or the exception, within a patient while."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await publishing
        except Exception as error:  # noqa: BLE001 - looked at by the test
            return error


async def test_cancelled_callers_take_nobody_with_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every second one is cancelled at some moment; the others get their positions, and so do later ones."""
    async with serving(tmp_path) as (bus, client):
        for round_ in range(10):
            calling = [asyncio.create_task(client.publish([sample(100 * round_ + number)])) for number in range(20)]
            for _ in range(round_):
                await asyncio.sleep(0)
            for task in calling[::2]:
                task.cancel()
            async with asyncio.timeout(PATIENCE):
                told: list[Any] = await asyncio.gather(*calling, return_exceptions=True)
            for number in range(1, 20, 2):
                assert told[number] == [bus.ids.index(sample(100 * round_ + number).id) + 1]
            # alone on the stream: written in the caller's own task
            alone = asyncio.create_task(client.publish([sample(100 * round_ + 50)]))
            for _ in range(round_):
                await asyncio.sleep(0)
            alone.cancel()
            await asyncio.gather(alone, return_exceptions=True)
        assert await outcome(client.publish([sample(1)]))
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_caller_who_gives_up_leaves_the_stream_to_the_next(tmp_path: Path) -> None:
    """Alone on the stream, while its events are stored: the stream stands, and the next one's answer is not his."""
    async with serving(tmp_path) as (bus, client):
        assert await outcome(client.publish([sample(0)])) == [1]
        for number in range(1, 20):
            bus.answers.clear()
            giving_up = asyncio.create_task(client.publish([sample(number)]))
            await until(lambda: sample(number).id in bus.ids)  # noqa: B023 - it ends within this turn
            giving_up.cancel()
            await asyncio.gather(giving_up, return_exceptions=True)
            bus.answers.set()
        assert await outcome(client.publish([sample(100)])) == [21]
        assert bus.streams == 1


async def test_a_stream_that_ends_at_rest_is_left_at_once(tmp_path: Path) -> None:
    """Nobody reads on it then; who publishes next, when the bus is back, must not be the one who finds out."""
    async with serving(tmp_path) as (bus, client):
        for number in range(3):
            await client.publish([sample(number)])
        assert publisher_of(client)._standing is not None
        with suppress(grpc.aio.AbortError):
            await bus.context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        await until(lambda: publisher_of(client)._standing is None)
        assert await outcome(client.publish([sample(3)])) == [4]
        assert bus.streams == 2


@pytest.mark.parametrize("crowd", [1, 2, 300])
async def test_lone_callers_and_crowds_in_turn(tmp_path: Path, crowd: int) -> None:
    """Whether answers come by reading or with the request that they answer: each gets its own, on one stream."""
    async with serving(tmp_path) as (bus, client):
        for round_ in range(6):
            numbers = range(1000 * round_, 1000 * round_ + crowd)
            alone = await outcome(client.publish([sample(1000 * round_ + 999)], timeout=None))
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.gather(*(client.publish([sample(number)], timeout=None) for number in numbers))
            assert alone == [bus.ids.index(sample(1000 * round_ + 999).id) + 1]
            assert found == [[bus.ids.index(sample(number).id) + 1] for number in numbers]
        assert bus.streams == 1


async def test_callers_whose_time_is_up_are_told_and_forgotten(tmp_path: Path) -> None:
    """The server takes requests and answers none: nothing of what nobody waits for stays in memory or is sent later."""
    async with serving(tmp_path) as (bus, client):
        await client.publish([sample(0)])
        bus.answers.clear()
        for round_ in range(8):
            calling = [client.publish([sample(1 + 50 * round_ + number)], timeout=0.05) for number in range(50)]
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.gather(*calling, return_exceptions=True)
            assert {(type(each), each.code) for each in found if isinstance(each, Refusal)} == {
                (Refusal, grpc.StatusCode.UNAVAILABLE)
            }
        assert not publisher_of(client)._waiting
        bus.answers.set()
        assert await outcome(client.publish([sample(1000)])) == [bus.ids.index(sample(1000).id) + 1]
        assert len(bus.ids) < 300, "what waited for the answers of others was dropped"


@pytest.mark.parametrize("size", [100, 200_000])
async def test_a_server_that_reads_nothing_holds_no_caller_beyond_its_time(tmp_path: Path, size: int) -> None:
    """However large the events: what waits for the server's window waits in the sending task."""
    async with serving(tmp_path) as (bus, client):
        bus.reads.clear()
        calling = [client.publish([sized(number, size)], timeout=0.05) for number in range(10)]
        async with asyncio.timeout(publish._STALLED_SECONDS - 1):
            found = await asyncio.gather(*calling, return_exceptions=True)
        assert all(isinstance(each, Refusal) for each in found)
        bus.reads.set()


@pytest.mark.parametrize("size", [100, 200_000])
@pytest.mark.parametrize("stalls", ["reads", "answers"])
async def test_a_stream_that_stalled_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, stalls: str
) -> None:
    """Also when the sending task was waiting in the middle of a write as the stalled stream was ended."""
    monkeypatch.setattr(publish, "_STALLED_SECONDS", 0.2)
    async with serving(tmp_path) as (bus, client):
        await client.publish([sample(0)])
        getattr(bus, stalls).clear()
        if stalls == "reads":
            # the stream that stands reads already: another one
            bus.ends_with = grpc.StatusCode.UNAVAILABLE
        calling = [asyncio.create_task(client.publish([sized(number, size)], timeout=None)) for number in range(1, 30)]
        streams = bus.streams
        await until(lambda: bus.streams >= streams + 2)
        bus.ends_with = None
        getattr(bus, stalls).set()
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*calling)
        assert sorted(position for (position,) in found) == list(range(2, 31))


async def test_a_bus_that_stood_still_when_the_stream_was_opened(tmp_path: Path, leap: Callable[[float], None]) -> None:
    """It took the connection and said nothing for longer than a stream may stall: nobody is left waiting for ever."""
    path = tmp_path / "bus.sock"
    client = BusClient(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen()
        frozen.setblocking(False)
        await client.start()
        publishing = asyncio.create_task(client.publish([sample(1)], timeout=None))
        connection, _ = await asyncio.get_running_loop().sock_accept(frozen)
        await turns()
        for _ in range(4):
            leap(publish._STALLED_SECONDS)
            await turns()
        connection.close()
    path.unlink()
    async with serving(tmp_path):
        assert await outcome(publishing) == [1]
        await client.close()


async def test_a_bus_that_fails_at_something_is_not_asked_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL from the stream and from the call that asks why: it may pass, so it is tried again, but after a wait each time."""
    waits = 0

    class Counted(Backoff):
        def wait(self) -> float:
            nonlocal waits
            waits += 1
            return 0.0

    monkeypatch.setattr(publish, "Backoff", Counted)
    async with serving(tmp_path) as (bus, client):
        bus.ends_with = grpc.StatusCode.INTERNAL
        publishing = asyncio.create_task(client.publish([sample(1)], timeout=None))
        await until(lambda: bus.calls >= 5)
        assert waits >= 4
        bus.ends_with = None
        assert await outcome(publishing) == [1]


@pytest.mark.parametrize("positions", [[], [1]])
async def test_an_answer_without_a_position_for_each_event_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positions: list[int]
) -> None:
    """It can only come from a bus that is broken; callers hear that, instead of positions that are not theirs or nothing."""
    async with serving(tmp_path) as (bus, client):
        monkeypatch.setattr(bus, "positions_of", lambda events: positions[: len(events) - 1])
        for events in ([sample(1)], [sample(1), sample(2)]):
            assert isinstance(await outcome(client.publish(events)), ValueError)


async def test_two_clients_do_not_mix(tmp_path: Path) -> None:
    """Each caller of each gets the position of its own event."""
    async with serving(tmp_path) as (bus, client):
        other = BusClient(client._target)
        await other.start()
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(
                *((client, other)[number % 2].publish([sample(number), sample(1000 + number)]) for number in range(200))
            )
        for number, positions in enumerate(found):
            assert positions == [bus.ids.index(sample(one).id) + 1 for one in (number, 1000 + number)]
        await other.close()


@pytest.mark.parametrize("where", ["on the stream", "by a call of its own", "before anything is sent"])
async def test_a_close_in_the_middle_tells_every_caller(tmp_path: Path, where: str) -> None:
    """UNAVAILABLE, wherever its events are; and so does every publish afterwards."""
    async with serving(tmp_path) as (bus, client):
        await client.publish([sample(0)])
        bus.answers.clear()
        publisher = publisher_of(client)
        calling = [asyncio.create_task(client.publish([sample(number)], timeout=None)) for number in range(1, 40)]
        if where == "by a call of its own":
            bus.ends_with = grpc.StatusCode.INTERNAL
        async with asyncio.timeout(PATIENCE):
            if where == "on the stream":
                await until(lambda: publisher._requests.sent)
            while where == "by a call of its own" and not bus.calls:
                # on the stream it would wait for its answer
                bus.answers.set()
                await asyncio.sleep(0)
                bus.answers.clear()
            await client.close()
            found: list[Any] = await asyncio.gather(*calling, return_exceptions=True)
        assert all(isinstance(each, list) or each.code is grpc.StatusCode.UNAVAILABLE for each in found)
        assert any(isinstance(each, Refusal) for each in found)
        for expected in ({}, {"a": 1}):
            refused = await outcome(client.publish([sample(50)], expected_versions=expected))
            assert refused.code is grpc.StatusCode.UNAVAILABLE


async def test_what_no_one_expects_in_the_sending_task_reaches_its_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not nowhere; and the next publish begins anew."""
    async with serving(tmp_path) as (_, client):

        async def broken(*_: object) -> None:
            raise RuntimeError("no one expects this")

        with monkeypatch.context() as patch:
            patch.setattr(publisher_of(client), "_stream", broken)
            assert isinstance(await outcome(client.publish([sample(1)], timeout=None)), RuntimeError)
        assert await outcome(client.publish([sample(2)])) == [1]


async def test_a_call_that_is_cancelled_by_another_is_no_cancellation_of_its_writer() -> None:
    """The writer hears that it is over; one that is cancelled itself hears that."""

    class Call:
        """Waits for the window of a server that takes nothing."""

        def __init__(self) -> None:
            self.gone = asyncio.get_running_loop().create_future()

        async def write(self, message: object) -> None:
            """As grpc.aio: CancelledError when the call is cancelled."""
            try:
                await self.gone
            finally:
                self.gone.cancel()

    call = Call()
    writing = asyncio.create_task(written(call, b""))
    await asyncio.sleep(0)
    call.gone.cancel()
    assert await writing is False
    call = Call()
    writing = asyncio.create_task(written(call, b""))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_callers_who_are_answered_together_go_on_together() -> None:
    """Also when the write of their request ends between the answer and their next events: none goes ahead by itself."""

    class Call:
        """Tells of an answer and of the end of the write that it answers in one turn of the loop, in this order."""

        def __init__(self) -> None:
            self.sizes: list[int] = []
            self.answers: asyncio.Queue[pb.PublishStreamResponse] = asyncio.Queue()

        async def wait_for_connection(self) -> None:
            """It stands."""

        async def write(self, message: bytes) -> None:
            """A request goes out."""
            request = pb.PublishStreamRequest.FromString(message)
            self.sizes.append(len(request.events))
            loop = asyncio.get_running_loop()
            written_ = loop.create_future()
            answer = pb.PublishStreamResponse(sequence=request.sequence, positions=range(1, len(request.events) + 1))
            loop.call_soon(self.answers.put_nowait, answer)
            loop.call_soon(written_.set_result, None)
            await written_

        async def read(self) -> pb.PublishStreamResponse:
            """The next answer."""
            return await self.answers.get()

        def cancel(self) -> None:
            """The end."""

    call = Call()

    class Channel:
        """Gives the call."""

        def stream_stream(self, *_: object, **__: object) -> Any:
            """PublishStream."""
            return lambda: call

        def unary_unary(self, *_: object, **__: object) -> Any:
            """Publish."""

    publisher = publish.Publisher(cast(Any, Channel()), cast(Any, None))

    async def caller(number: int) -> None:
        for round_ in range(3):
            await publisher.publish([sample(10 * number + round_)], {}, None)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*map(caller, range(8)))
    await publisher.close()
    assert call.sizes == [8, 8, 8]
