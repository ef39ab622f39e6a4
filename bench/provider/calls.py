"""What a completion costs the provider service, counted: calls of Python and C functions by phase, and by function.

`python -m bench.provider.calls [completions] [way ...]` runs the service in this process (no Envoy, no bus), callers and a far end
in another one, and asks one completion after the other: whole and streamed, through the compatible door and the one of the mesh.
The counts are of all threads and the same in every run, whatever the machine's clock does; the microseconds of CPU are not, and
come from a run of their own without the counting.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import grpc
import uvloop
from google.api.httpbody_pb2 import HttpBody
from tooloo.provider.v1 import chat_pb2
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.compatibility_service_pb2_grpc import CompatibilityServiceStub
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub

from bench.provider.overhead import BODIES, PLAIN, REGISTRY, STREAM
from mesh.boundary import Boundary
from mesh.testing import Bench, running
from services.provider.__main__ import build
from services.provider.flows.completing import Completing
from services.provider.flows.opening import Opening
from services.provider.flows.running import Running

COMPLETIONS, WARM, SHOWN = 100, 300, 30
PHASES = ("decode and checks", "prepare", "begin transaction", "call", "end transaction", "answer")
DECODE, PREPARE, BEGIN, CALL, END, ANSWER = PHASES
WAYS = tuple(f"{door}, {kind}" for door in ("compatible", "mesh") for kind in (PLAIN, STREAM))
_TEXT = "An answer of about a dozen words, as chats often give them."
_USAGE = {"prompt_tokens": 12, "completion_tokens": 14, "total_tokens": 26}
_ROOT = Path(__file__).parents[2]
Calls = Counter[str]


def _chunks() -> Iterator[bytes]:
    """The answer as a stream, one event a word."""
    deltas: list[dict[str, object]] = [{"choices": [{"index": 0, "delta": {"content": f"{word} "}}]} for word in _TEXT.split()]
    deltas += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": _USAGE}]
    for delta in deltas:
        told = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini", **delta}
        yield b"data: " + json.dumps(told).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def _whole() -> bytes:
    message = {"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
    told = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-5-mini", "choices": [message], "usage": _USAGE}
    return json.dumps(told).encode()


async def far_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers at once; a stream comes in one write, so that the number of reads is the same each time."""
    head, streamed, whole = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n", b"".join(_chunks()), _whole()
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
            wants_stream = b'"stream":true' in (await reader.readexactly(length)).replace(b" ", b"")
            kind, body = (b"text/event-stream", streamed) if wants_stream else (b"application/json", whole)
            writer.write(head % (kind, len(body)) + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def drive() -> None:
    """The other process: says where its far end is, then asks as often as each line says: an address, a way, a number."""
    server = await asyncio.start_server(far_end, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        address, way, count = json.loads(line)
        async with grpc.aio.insecure_channel(address) as channel:
            one = caller(channel, way)
            for _ in range(count):
                await one()
        print("done", flush=True)


def caller(channel: grpc.aio.Channel, way: str) -> Callable[[], Awaitable[None]]:
    """One completion, as somebody asks it in this way."""
    door, kind = way.split(", ")
    compatible, ours = CompatibilityServiceStub(channel), CompletionServiceStub(channel)
    body = HttpBody(content_type="application/json", data=BODIES[kind].encode())
    messages, model = [chat_pb2.ChatMessage(text="question")], "gpt-5-mini"
    # what Envoy sends of a call of curl's
    metadata = (("user-agent", "bench"), ("x-request-id", "00000000-0000-4000-8000-000000000000"), ("accept", "*/*"))

    async def one() -> None:
        if door == "compatible":
            _ = [piece async for piece in compatible.CreateChatCompletion(body, metadata=metadata)]
        elif kind == STREAM:
            _ = [
                piece
                async for piece in ours.StreamComplete(api.StreamCompleteRequest(messages=messages, model=model), metadata=metadata)
            ]
        else:
            await ours.Complete(api.CompleteRequest(messages=messages, model=model), metadata=metadata)

    return one


@dataclass
class Found:
    """Calls by phase, by function, and by function with all that it calls; and of each completion the CPU time of its phases."""

    by_phase: Calls = field(default_factory=Calls)
    own: Calls = field(default_factory=Calls)
    inclusive: Calls = field(default_factory=Calls)
    cpu: list[dict[str, float]] = field(default_factory=list)


class Count:
    """Counts between `begin` and `end`."""

    def __init__(self) -> None:
        self._on = False
        self._found = Found()
        self._phase, self._since = ANSWER, time.process_time()
        self._names: dict[CodeType, str] = {}

    def begin(self) -> None:
        """From here on it counts."""
        self._on, self._found = True, Found()

    def end(self) -> Found:
        """What it found since."""
        self._on = False
        return self._found

    def enter(self, phase: str) -> None:
        """Another phase begins; with the first one another completion."""
        now, spent = time.process_time(), self._found.cpu
        if self._on and spent:
            spent[-1][self._phase] = spent[-1].get(self._phase, 0.0) + now - self._since
        if self._on and phase == DECODE:
            spent.append({})
        self._phase, self._since = phase, now

    def see(self, frame: FrameType, event: str, _: Any) -> None:
        """What sys.setprofile calls: one call that a function's frame got ("call") or made ("c_call")."""
        if not self._on or event not in ("call", "c_call") or frame.f_code.co_filename == __file__:
            return
        self._found.by_phase[self._phase] += 1
        self._found.own[self._name(frame.f_code)] += 1
        self._found.inclusive.update({self._name(above.f_code) for above in _stack(frame)})

    def _name(self, code: CodeType) -> str:
        if code not in self._names:
            path = code.co_filename.removeprefix(f"{_ROOT}/").rpartition("site-packages/")[2]
            self._names[code] = f"{path}:{code.co_firstlineno} {code.co_qualname}"
        return self._names[code]


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


@contextmanager
def phases(count: Count) -> Iterator[None]:
    """Tells the count of each phase that begins: with a call that comes in, with what is prepared, and so on."""
    intercept, prepare, run, end = Boundary.intercept_service, Opening.prepare, Running.__init__, Completing._end

    async def intercepted(self: Boundary, *args: Any) -> Any:
        count.enter(DECODE)
        return await intercept(self, *args)

    async def prepared(self: Opening, *args: Any) -> Any:
        count.enter(PREPARE)
        try:
            return await prepare(self, *args)
        finally:
            count.enter(BEGIN)

    def runs(self: Running, *args: Any) -> None:
        count.enter(CALL)
        run(self, *args)

    async def ended(self: Completing, *args: Any) -> Any:
        count.enter(END)
        try:
            return await end(self, *args)
        finally:
            count.enter(ANSWER)

    with (
        patch.object(Boundary, "intercept_service", intercepted),
        patch.object(Opening, "prepare", prepared),
        patch.object(Running, "__init__", runs),
        patch.object(Completing, "_end", ended),
    ):
        yield


@asynccontextmanager
async def other() -> AsyncIterator[tuple[int, Callable[[str, str, int], Awaitable[None]]]]:
    """The process of callers and far end: where that is, and how to have it ask."""
    command = (sys.executable, "-m", "bench.provider.calls", "drive")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    to, of = process.stdin, process.stdout
    if to is None or of is None:
        raise RuntimeError("a process with pipes has both")

    async def ask(address: str, way: str, count: int) -> None:
        to.write(json.dumps((address, way, count)).encode() + b"\n")
        if not await of.readline():
            raise RuntimeError(f"a completion failed ({way}); see above")

    yield int(await of.readline()), ask
    to.close()
    await process.wait()


def service(folder: Path, port: int) -> AbstractAsyncContextManager[Bench]:
    """A service with one model, at the far end; nothing in the background comes in between by the clock."""
    registry = folder / "registry.toml"
    registry.write_text(REGISTRY.format(url=f"http://127.0.0.1:{port}"))
    # the service's build reads keys from the process's own environment
    os.environ["OPENAI_API_KEY"] = "sk-none"
    settings = {"AVAILABILITY_SWEEP": "1h", "LOOK_INTERVAL": "1h", "REGISTRY_FILE": str(registry)}
    return running("provider", build, folder, settings={f"TOOLOO_PROVIDER_{name}": value for name, value in settings.items()})


async def counted(ways: list[str], completions: int, *, profile: bool) -> dict[str, Found]:
    """A count for each way, on a service of its own."""
    count = Count()
    if profile:
        # before the database's threads begin
        threading.setprofile(count.see)
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as folder, phases(count):
        async with other() as (port, ask), service(Path(folder), port) as bench:
            for way in ways:
                await ask(bench.address, way, WARM)
                count.begin()
                sys.setprofile(count.see if profile else None)
                await ask(bench.address, way, completions)
                sys.setprofile(None)
                found[way] = count.end()
    return found


def show(way: str, calls: Found, times: Found, completions: int) -> None:
    """The tables of one way."""
    print(f"\n{way:<34}{'calls':>8}{'µs CPU, p50':>13}")
    micros = [statistics.median(spent.get(phase, 0.0) for spent in times.cpu) * 1e6 for phase in PHASES]
    for phase, micro in zip(PHASES, micros, strict=True):
        print(f"  {phase:<32}{calls.by_phase[phase] / completions:>8.1f}{micro:>13.0f}")
    print(f"  {'all':<32}{calls.by_phase.total() / completions:>8.1f}{sum(micros):>13.0f}")
    print(f"  {'own':>8}{'with all':>10}  the {SHOWN} functions of most calls: entered and made; and with what they call")
    for name, own in calls.own.most_common(SHOWN):
        print(f"  {own / completions:>8.1f}{calls.inclusive[name] / completions:>10.1f}  {name}")


async def main(completions: int, ways: list[str]) -> None:
    """Prints the tables."""
    times = await counted(ways, completions, profile=False)
    calls = await counted(ways, completions, profile=True)
    for way in ways:
        show(way, calls[way], times[way], completions)


if __name__ == "__main__":
    if sys.argv[1:] == ["drive"]:
        asyncio.run(drive())
    else:
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else COMPLETIONS, sys.argv[2:] or list(WAYS)))
