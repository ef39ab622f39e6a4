"""A small closed-loop HTTP/1.1 load generator: keep-alive connections, one request at a time each, every answer checked."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Answers a second, median and 99th percentile of their times in milliseconds, and how many were not 200."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int

    @classmethod
    def median(cls, several: Sequence["Figures"]) -> "Figures":
        """The median of each figure; failures add up."""
        return cls(
            statistics.median(each.rate for each in several),
            statistics.median(each.p50_ms for each in several),
            statistics.median(each.p99_ms for each in several),
            sum(each.failed for each in several),
        )


async def load(port: int, request: bytes, connections: int, seconds: float) -> Figures:
    """Sends `request` over each of the connections again and again for so many seconds."""
    times: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            try:
                failed += await _answer(reader) != 200
            except (asyncio.IncompleteReadError, ConnectionError):
                # it was cut off: that is a failure, and the next one needs another connection
                failed += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            times.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(connections)))
    times.sort()
    return Figures(len(times) / seconds, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3, failed)


async def _answer(reader: asyncio.StreamReader) -> int:
    """Reads one response; gives its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"\r\ntransfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        length = int(head.split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    return status


def get(path: str, port: int) -> bytes:
    """A GET request as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()


def post(path: str, port: int, body: str, headers: str = "") -> bytes:
    """A POST request with a JSON body as bytes; `headers` are further lines, each with its end."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}\r\n{body}".encode()
