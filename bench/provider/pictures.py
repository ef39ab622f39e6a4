"""What large requests take in memory: `python -m bench.provider.pictures [callers]`, 16 by default.

A mesh before a far end that answers nobody until a round has arrived, so that all of its requests are held at once. Each is a chat
with one picture as a data URL. Prints for each size the most that the provider service and Envoy took, what came of the calls, and
of others that were made meanwhile. What is larger than the setting large_message_bytes is refused with 413, and what is more than
large_requests_bytes at a time with 429 and Retry-After, which the official clients heed by themselves.
"""

import asyncio
import collections
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil

from bench.provider.overhead import REGISTRY, memory_of
from services.provider.settings import ProviderSettings
from tests.support.mesh import Mesh, running_mesh

MIB = 1024 * 1024
CALLERS = 16
# the last of them is over the limit
SIZES = (0.1, 4, 8, 20, 31, 33)
_LONGEST_SECONDS = 120
_PAUSE_SECONDS = 0.05
_ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"A cat."},"finish_reason":"stop"}]}'
_HEAD = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(_ANSWER)}\r\n\r\n".encode()


class FarEnd:
    """Reads requests without keeping them and answers a round when all of it is there."""

    def __init__(self) -> None:
        self._round = asyncio.Barrier(1)
        self.url = ""

    def expect(self, callers: int) -> None:
        """The next round has so many."""
        self._round = asyncio.Barrier(callers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                left = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
                while left:
                    left -= len(await reader.read(min(left, MIB)))
                async with asyncio.timeout(_LONGEST_SECONDS):
                    await self._round.wait()
                writer.write(_HEAD + _ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()


@asynccontextmanager
async def far_end() -> AsyncIterator[FarEnd]:
    """A far end that listens."""
    found = FarEnd()
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield found


async def peak(mesh: Mesh) -> tuple[float, float]:
    """The most that provider and Envoy took, until it is cancelled; MiB."""
    service = door = 0.0
    try:
        while True:
            now = memory_of(mesh)
            service, door = max(service, now.gateway), max(door, now.door)
            await asyncio.sleep(_PAUSE_SECONDS)
    except asyncio.CancelledError:
        return service, door


async def bystander(mesh: Mesh) -> tuple[int, int]:
    """Calls that have nothing to do with it, until it is cancelled: how many were made, and how many failed."""
    made = failed = 0
    try:
        async with httpx.AsyncClient(base_url=mesh.url, timeout=_LONGEST_SECONDS) as client:
            while True:
                answer = await client.get("/api/v1/providers/status")
                made, failed = made + 1, failed + (answer.status_code != httpx.codes.OK)
                await asyncio.sleep(_PAUSE_SECONDS)
    except asyncio.CancelledError:
        return made, failed


async def round_of(mesh: Mesh, far: FarEnd, callers: int, size: float) -> None:
    """Callers who send a picture at the same time; prints a line."""
    picture = "A" * int(size * MIB)
    content = f'[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{picture}"}}}}]'
    body = f'{{"model":"openai/gpt-5-mini","messages":[{{"role":"user","content":{content}}}]}}'.encode()
    # those that find no room never arrive
    far.expect(max(1, min(callers, ProviderSettings.large_requests_bytes // len(body))))
    watching, other, began = asyncio.create_task(peak(mesh)), asyncio.create_task(bystander(mesh)), time.monotonic()
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=mesh.url, timeout=_LONGEST_SECONDS) as client:
        sent = [client.post("/v1/chat/completions", content=body, headers=headers) for _ in range(callers)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
    took = time.monotonic() - began
    watching.cancel()
    other.cancel()
    (service, door), (made, failed) = await watching, await other
    counted = collections.Counter(
        str(each.status_code) if isinstance(each, httpx.Response) else type(each).__name__ for each in answers
    )
    told = ", ".join(f"{count} x {what}" for what, count in sorted(counted.items()))
    others = f"{failed} of {made}"
    print(f"{size:>8.1f}{callers:>9}{service:>14.0f}{door:>11.0f}{took:>9.1f}{others:>15}  {told}", flush=True)


async def main(callers: int) -> None:
    """All sizes, one caller and many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with far_end() as far:
            registry = folder / "registry.toml"
            registry.write_text(REGISTRY.format(url=far.url))
            env = {"TOOLOO_PROVIDER_REGISTRY_FILE": str(registry), "OPENAI_API_KEY": ""}
            with running_mesh(folder / "var", env) as mesh:
                print(
                    f"{'MiB each':>8}{'callers':>9}{'provider MiB':>14}{'Envoy MiB':>11}{'seconds':>9}{'others failed':>15}  calls"
                )
                for size in SIZES:
                    for number in (1, callers):
                        await round_of(mesh, far, number, size)


if __name__ == "__main__":
    psutil.Process().nice(5)
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLERS))
