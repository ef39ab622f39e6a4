"""What a call to a provider costs beyond the bare socket: `Remote` beside httpx's client and the official OpenAI client.

`python -m bench.provider.calling [calls]` takes turns among all of them at one far end, so that a busy moment meets each alike, and
prints p50 and p99 of what each adds to a bare socket, with the ratio to httpx's client.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import httpx
import openai
import uvloop

from mesh.clock import SystemClock
from services.provider.chat import Chat, Message, Role, Text
from services.provider.remote.calling import Remote
from services.provider.target import Target

CALLS, WARM_UP = 1500, 50
WORDS = "How much wood would a woodchuck chuck? " * 20
QUESTION = {"model": "m", "messages": [{"role": "user", "content": WORDS}]}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 200, "completion_tokens": 200, "total_tokens": 400}
ANSWER = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE], "usage": USAGE}


class FarEnd(asyncio.Protocol):
    """Answers every request with the same body at once."""

    reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's call."""
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Asyncio's call."""
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = int(self._received[:end].lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(self._received) >= end + length:
            self._received = self._received[end + length :]
            self._transport.write(self.reply)  # type: ignore[attr-defined] # a TCP transport


async def bare(port: int) -> Callable[[], Awaitable[object]]:
    """A call over a socket and nothing else."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(QUESTION).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def call() -> object:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))

    return call


async def measure(calls: int) -> dict[str, list[float]]:
    """Seconds of every call, by who made it."""
    body = json.dumps(ANSWER).encode()
    FarEnd.reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    server = await asyncio.get_running_loop().create_server(FarEnd, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}/v1"
    target, chat = Target("p", "m", "openai", base, "key"), Chat((Message(Role.USER, (Text(WORDS),)),))
    async with (
        Remote(SystemClock()) as remote,
        httpx.AsyncClient(trust_env=False) as plain,
        openai.AsyncOpenAI(base_url=base, api_key="key", max_retries=0) as official,
    ):

        async def by_httpx() -> object:
            return (await plain.post(f"{base}/chat/completions", json=QUESTION)).json()

        async def by_openai() -> object:
            return await official.chat.completions.create(model="m", messages=[{"role": "user", "content": WORDS}])

        callers: dict[str, Callable[[], Awaitable[object]]] = {
            "bare socket": await bare(port),
            "Remote.complete": lambda: remote.complete(target, chat),
            "httpx.AsyncClient": by_httpx,
            "openai.AsyncOpenAI": by_openai,
        }
        taken: dict[str, list[float]] = {name: [] for name in callers}
        for number in range(WARM_UP + calls):
            for name, call in callers.items():
                began = time.perf_counter()
                await call()
                if number >= WARM_UP:
                    taken[name].append(time.perf_counter() - began)
    server.close()
    return taken


def main() -> None:
    """Prints the table."""
    taken = uvloop.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS))
    figures = {
        name: (sorted(times)[len(times) // 2] * 1e3, sorted(times)[int(len(times) * 0.99)] * 1e3) for name, times in taken.items()
    }
    base50, base99 = figures["bare socket"]
    peer = figures["httpx.AsyncClient"][0] - base50
    print(f"{'call':<20}{'p50 ms':>9}{'p99 ms':>9}{'added p50':>11}{'added p99':>11}{'to httpx':>10}")
    for name, (p50, p99) in figures.items():
        print(f"{name:<20}{p50:>9.3f}{p99:>9.3f}{p50 - base50:>11.3f}{p99 - base99:>11.3f}{(p50 - base50) / peer:>10.2f}")


if __name__ == "__main__":
    main()
