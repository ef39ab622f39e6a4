"""Whether the provider's memory is flat under steady calls: `python -m bench.provider.soak`, for TOOLOO_SOAK_SECONDS (default 60).

A provider service and a bus with default settings, aimock at the far end. Fifty calls a second come over gRPC, half of them
streamed, from a thousand users in sessions, half with an id under which the answer is kept; each reserves, settles and tells its
events. The slope is that of the second half (least squares); memory levels off within ten minutes.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path

import grpc
import uvloop
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.chat_pb2 import ROLE_USER, ChatMessage
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub

from bench.bus import server
from bench.memory import Memory
from bench.provider import overhead
from bench.provider.replicas import Process
from mesh.ids import new_id
from tests.peers.aimock import aimock

SECONDS = float(os.environ.get("TOOLOO_SOAK_SECONDS", "60"))
RATE = 50
_USERS, _SESSIONS = 1_000, 200
# a server that cannot keep up is not asked for ever more
_AT_ONCE = 100


class Soak:
    """Calls at the rate; one that was late is made up for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = CompletionServiceStub(channel)
        self._free = asyncio.Semaphore(_AT_ONCE)
        self.answered = 0
        self.refused: Counter[str] = Counter()

    async def run(self) -> None:
        """Until the time is over and everything is answered."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in count():
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                if time.monotonic() - began >= SECONDS:
                    return
                await self._free.acquire()
                group.create_task(self._call(number))

    async def _call(self, number: int) -> None:
        words = ChatMessage(role=ROLE_USER, text=f"question {number}")
        user, session = f"user-{number % _USERS}", f"session-{number % _SESSIONS}"
        request_id = new_id() if number % 4 < 2 else ""
        try:
            if number % 2:
                asked = api.StreamCompleteRequest(messages=[words], user_id=user, session_id=session, request_id=request_id)
                async for _ in self._stub.StreamComplete(asked):
                    pass
            else:
                whole = api.CompleteRequest(messages=[words], user_id=user, session_id=session, request_id=request_id)
                await self._stub.Complete(whole)
            self.answered += 1
        except grpc.aio.AioRpcError as error:
            self.refused[error.details() or error.code().name] += 1
        finally:
            self._free.release()


async def measure(folder: Path) -> bool:
    """Runs, then prints; gives whether every call was answered."""
    async with aimock(folder, overhead.FIXTURES) as mock:
        (folder / "registry.toml").write_text(overhead.REGISTRY.format(url=mock.url))
        settings = {"TOOLOO_PROVIDER_REGISTRY_FILE": str(folder / "registry.toml"), "OPENAI_API_KEY": "sk-none"}
        process = Process(0, folder, folder / "run", settings)
        await process.start()
        try:
            soak, memory = Soak(process.channel), Memory(process.pid, SECONDS)
            watching = asyncio.create_task(memory.watch())
            await soak.run()
            watching.cancel()
        finally:
            await process.stop()
    memory.table("provider")
    stored = (folder / "provider" / "provider.db").stat().st_size / 1e6
    print(f"{soak.answered:,} calls answered, {soak.refused.total():,} refused, in {SECONDS:.0f} s; the store has {stored:.0f} MB")
    for why, times in soak.refused.most_common(5):
        print(f"{times:8,} refused: {why}")
    print(f"second half: {memory.slope:+.1f} MB an hour")
    return not soak.refused


def main() -> int:
    """Runs a provider, a bus and their traffic."""
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as name, server.running(Path(name)):
        return 0 if uvloop.run(measure(Path(name))) else 1


if __name__ == "__main__":
    raise SystemExit(main())
