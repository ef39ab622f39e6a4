"""A provider's far end on a real socket, whose every byte is the test's own, and the calls that reach it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from mesh.clock import SystemClock
from services.provider.chat import Answer, Chat, Delta, Finish, Message, Role, Text, Usage
from services.provider.failure import CallFailedError, Failure
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
PATIENT = Timeouts(connect=timedelta(seconds=60))
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
        return [delta async for came in deltas for delta in came]
