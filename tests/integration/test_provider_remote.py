"""Calls to a provider over a real socket: every way to answer, to fail, to be slow and to hang up."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from mesh.clock import SystemClock
from services.provider.chat import Answer, Chat, Delta, Finish, Message, Role, Text, Usage
from services.provider.failure import CallFailedError, Failure, FailureKind
from services.provider.remote.calling import Remote
from services.provider.target import Target, Timeouts

KEY = "sk-live-abcdef0123456789"
CHAT = Chat((Message(Role.USER, (Text("hello"),)),))
BODY = json.dumps({
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}).encode()  # fmt: skip
ANSWER = Answer((Text("hi"),), Finish.STOP, Usage(3, 1), "m")
WORD = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
STOP = b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
MOMENT = timedelta(seconds=0.3)
SHORT = Timeouts(MOMENT, MOMENT, MOMENT, total=timedelta(seconds=0.8))
PATIENT = Timeouts()
LENGTH = f"content-length: {len(BODY)}\r\n\r\n".encode()
Handler = Callable[["Far"], Awaitable[None]]


@dataclass
class Far:
    """One request at the far end, and the hand that answers it."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    number: int

    async def say(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes, *headers: str) -> None:
        """Sends a whole answer."""
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]
        await self.say("\r\n".join(lines).encode() + body)

    async def begin(self) -> None:
        """Begins a chunked stream."""
        await self.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        """Sends a chunk; of nothing: the last one."""
        await self.say(f"{len(data):x}\r\n".encode() + data + b"\r\n")


@dataclass
class Server:
    """The far end: its address, what it was asked, how many connections it took."""

    url: str = ""
    seen: list[Far] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def target(self, dialect: str = "openai", timeouts: Timeouts = PATIENT) -> Target:
        """A model here."""
        return Target("p", "m", dialect, self.url, KEY, "k1", timeouts=timeouts)


@asynccontextmanager
async def far_end(handler: Handler) -> AsyncIterator[Server]:
    """Serves until the end; `gone` is set when a caller closed its connection."""
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
                far = Far(head, await reader.readexactly(length), writer, reader, len(server.seen) + 1)
                server.seen.append(far)
                await handler(far)
        except (asyncio.IncompleteReadError, ConnectionError):
            server.gone.set()
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield server


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    """The one under test."""
    async with Remote(SystemClock(), connections=4, answer_bytes=100_000) as made:
        yield made


async def failure_of(call: Awaitable[object]) -> Failure:
    """How a call fails."""
    with pytest.raises(CallFailedError) as caught:
        await call
    assert KEY not in f"{caught.value!r} {caught.value.failure}"
    return caught.value.failure


async def streamed(remote: Remote, target: Target) -> list[Delta]:
    """Every piece."""
    async with aclosing(remote.stream(target, CHAT)) as deltas:
        return [delta async for delta in deltas]


async def test_an_answer_and_the_same_connection_again(remote: Remote) -> None:
    """Kept alive: ten calls, one connection; the key travels in its header alone."""
    async with far_end(lambda far: far.answer(200, BODY)) as server:
        for _ in range(10):
            assert await remote.complete(server.target(), CHAT) == ANSWER
    assert server.connections == 1
    assert server.seen[0].head.startswith("POST /chat/completions HTTP/1.1\r\n")
    assert f"authorization: Bearer {KEY}\r\n" in server.seen[0].head
    assert KEY.encode() not in server.seen[0].body


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH + BODY,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY,
    ],
    ids=["chunked", "early hints", "http 1.0 until the end", "closed at the end"],
)  # fmt: skip
async def test_every_way_to_frame_an_answer(remote: Remote, reply: bytes) -> None:
    """RFC 9112: chunks, informational answers before, the end of the connection as the end; all byte by byte, too."""

    async def handler(far: Far) -> None:
        for byte in reply:
            await far.say(bytes([byte]))
            await asyncio.sleep(0)
        if b"chunked" not in reply and b"103" not in reply:
            far.writer.close()

    async with far_end(handler) as server:
        assert await remote.complete(server.target(), CHAT) == ANSWER


async def test_a_stream_gives_pieces_as_they_come(remote: Remote) -> None:
    """The first piece is there before the second is sent; afterwards the connection is used again."""
    first_seen = asyncio.Event()

    async def handler(far: Far) -> None:
        await far.begin()
        await far.chunk(WORD)
        await first_seen.wait()
        await far.chunk(STOP + DONE)
        await far.chunk(b"")

    async with far_end(handler) as server:
        for _ in range(2):
            async with aclosing(remote.stream(server.target(), CHAT)) as deltas:
                assert (await anext(deltas)).text == "hi"
                first_seen.set()
                assert [delta.finish async for delta in deltas] == [Finish.STOP]
        assert server.connections == 1
        assert json.loads(server.seen[0].body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (WORD, FailureKind.BROKEN_STREAM),
        (WORD[:20], FailureKind.BROKEN_STREAM),
        (WORD + b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n', FailureKind.SERVER_ERROR),
        (WORD + b"data: {broken\n\n", FailureKind.MALFORMED),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
async def test_a_stream_that_breaks(remote: Remote, sent: bytes, kind: FailureKind, cut: bool) -> None:
    """Ended in good order or by a cut connection, without its terminal marker it is broken; what came before was given."""

    async def handler(far: Far) -> None:
        await far.begin()
        await far.chunk(sent)
        if cut:
            far.writer.transport.abort()
        else:
            await far.chunk(b"")

    async with far_end(handler) as server:
        assert (await failure_of(streamed(remote, server.target()))).kind is kind


async def test_hanging_up_closes_the_connection_at_once(remote: Remote) -> None:
    """A caller who leaves, by closing or by cancellation: the provider sees it and stops generating."""
    second = asyncio.Event()

    async def handler(far: Far) -> None:
        second.set()
        await far.begin()
        while True:
            await far.chunk(WORD)
            await asyncio.sleep(0.01)

    async with far_end(handler) as server:
        async with aclosing(remote.stream(server.target(), CHAT)) as deltas:
            await anext(deltas)
        async with asyncio.timeout(20):
            await server.gone.wait()
        server.gone.clear()
        second.clear()
        task = asyncio.create_task(streamed(remote, server.target()))
        await second.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(20):
            await server.gone.wait()


async def test_cancelled_while_waiting_for_the_answer(remote: Remote) -> None:
    """Before the first byte, too."""
    arrived = asyncio.Event()

    async def handler(far: Far) -> None:
        arrived.set()
        await far.reader.read(1)
        raise ConnectionError

    async with far_end(handler) as server:
        task = asyncio.create_task(remote.complete(server.target(), CHAT))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(20):
            await server.gone.wait()


async def test_each_time_limit(remote: Remote) -> None:
    """No first byte, a pause within, and an answer that goes on for ever: TIMEOUT each, and nothing hangs."""

    async def silent(far: Far) -> None:
        await far.reader.read()

    async def pausing(far: Far) -> None:
        await far.begin()
        await far.chunk(WORD)
        await far.reader.read()

    async def endless(far: Far) -> None:
        await far.begin()
        while True:
            await far.chunk(WORD)
            await asyncio.sleep(0.05)

    for handler in (silent, pausing, endless):
        async with far_end(handler) as server:
            assert (await failure_of(streamed(remote, server.target(timeouts=SHORT)))).kind is FailureKind.TIMEOUT


async def test_nobody_there(remote: Remote) -> None:
    """A refused connection, a name that does not exist, an address that is none."""
    async with far_end(lambda far: far.answer(200, BODY)) as server:
        pass
    for url in (server.url, "http://name.invalid", "ftp://x"):
        failure = await failure_of(remote.complete(replace(server.target(), base_url=url), CHAT))
        assert failure.kind is FailureKind.UNREACHABLE


async def test_a_refusal_with_a_time_to_wait(remote: Remote) -> None:
    """Status, class, words and Retry-After; a key that the provider quotes is taken out."""
    body = json.dumps({"error": {"message": f"bad key {KEY}", "code": "rate_limit"}}).encode()
    async with far_end(lambda far: far.answer(429, body, "Retry-After: 3")) as server:
        failure = await failure_of(remote.complete(server.target(), CHAT))
        assert failure == Failure(FailureKind.RATE_LIMITED, "bad key [key]", 429, timedelta(seconds=3))
        assert (await failure_of(streamed(remote, server.target()))).kind is FailureKind.RATE_LIMITED
        assert server.connections == 1, "a refusal is no reason to give a connection up"


async def test_a_redirect_is_not_followed(remote: Remote) -> None:
    """Whoever answers may not send our key elsewhere."""
    async with far_end(lambda far: far.answer(307, b"", "location: http://127.0.0.1:1/")) as server:
        failure = await failure_of(remote.complete(server.target(), CHAT))
    assert (failure.kind, failure.status) == (FailureKind.NOT_FOUND, 307)


@pytest.mark.parametrize(
    "reply", [b"not http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"]
)
async def test_what_is_no_http(remote: Remote, reply: bytes) -> None:
    """Garbage, and lengths that contradict each other."""
    async with far_end(lambda far: far.say(reply)) as server:
        failure = await failure_of(remote.complete(server.target(), CHAT))
    assert failure.kind in (FailureKind.MALFORMED, FailureKind.TIMEOUT)


async def test_an_answer_that_is_too_large(remote: Remote) -> None:
    """Bounded by a setting, whatever the provider sends."""
    async with far_end(lambda far: far.answer(200, b" " * 200_000)) as server:
        assert (await failure_of(remote.complete(server.target(), CHAT))).kind is FailureKind.MALFORMED


async def test_a_provider_that_closes_idle_connections(remote: Remote) -> None:
    """A connection that was closed meanwhile is not used: the next call makes a new one."""

    async def handler(far: Far) -> None:
        await far.answer(200, BODY)
        far.writer.close()

    async with far_end(handler) as server:
        for _ in range(3):
            assert await remote.complete(server.target(), CHAT) == ANSWER
            await asyncio.sleep(0.02)
        assert server.connections == 3


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("streams", [False, True])
async def test_a_kept_connection_that_ends_as_it_is_used(remote: Remote, streams: bool, resets: bool) -> None:
    """The far end's idle time runs out as the request leaves, on all connections: each call goes on over a new one."""
    used: set[asyncio.StreamWriter] = set()

    async def handler(far: Far) -> None:
        if far.writer in used:
            ends = far.writer.transport.abort if resets else far.writer.close
            ends()
            raise ConnectionError
        used.add(far.writer)
        if streams:
            await far.begin()
            await far.chunk(WORD + STOP + DONE)
            await far.chunk(b"")
        else:
            await far.answer(200, BODY)

    async with far_end(handler) as server:
        for _ in range(3):
            if streams:
                calls = [streamed(remote, server.target()) for _ in range(4)]
                assert all(len(pieces) > 1 for pieces in await asyncio.gather(*calls))
            else:
                wholes = [remote.complete(server.target(), CHAT) for _ in range(4)]
                assert await asyncio.gather(*wholes) == [ANSWER] * 4
        assert server.connections > 4


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_provider_that_hangs_up_on_everybody(remote: Remote, answered: int) -> None:
    """A new connection that ends without an answer is a failure at once: a request is sent twice at most."""

    async def handler(far: Far) -> None:
        if far.number > answered:
            far.writer.close()
            raise ConnectionError
        await far.answer(200, BODY)

    async with far_end(handler) as server:
        for _ in range(answered):
            await remote.complete(server.target(), CHAT)
        assert (await failure_of(remote.complete(server.target(), CHAT))).kind is FailureKind.UNREACHABLE
        assert len(server.seen) == 1 + 2 * answered


async def test_connections_are_bounded(remote: Remote) -> None:
    """Of 20 calls at once four are at the provider, and all are answered."""
    inside, most = 0, 0

    async def handler(far: Far) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.02)
        inside -= 1
        await far.answer(200, BODY)

    async with far_end(handler) as server:
        answers = await asyncio.gather(*(remote.complete(server.target(), CHAT) for _ in range(20)))
        assert answers == [ANSWER] * 20
        assert (most, server.connections) == (4, 4)


async def test_the_key_is_never_logged(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    """At any level, of calls that go well and of calls that fail."""
    caplog.set_level(logging.DEBUG)
    async with far_end(lambda far: far.answer(200 if far.number % 2 else 401, BODY)) as server:
        await remote.complete(server.target(), CHAT)
        await failure_of(remote.complete(server.target(), CHAT))
        logging.getLogger("test").info("%s", server.target())
    assert KEY not in caplog.text
    gc.collect()


async def test_a_header_cannot_be_smuggled(remote: Remote) -> None:
    """A key with a line end in it is refused before anything is sent."""
    async with far_end(lambda far: far.answer(200, BODY)) as server:
        failure = await failure_of(remote.complete(replace(server.target(), key="a\r\nx-evil: 1"), CHAT))
        assert failure.kind is FailureKind.UNREACHABLE
        assert server.seen == []
