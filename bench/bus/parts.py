"""What the parts of the bus's fast path cost, each beside what it stands for: `python -m bench.bus.parts`.

CPU time of this process for an event of 256 bytes of payload, in requests of 500;
the round trip is wall time between two processes.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from tooloo.bus.v1.bus_service_pb2 import PublishRequest

from bench.bus import events
from bus.check import check_publish
from bus.log import Log
from bus.native import IdWindow, stamp
from mesh import extra_contracts
from mesh.boundary import violations_of
from mesh.memory import keep_freed_memory

_COUNT = 500
_ROUNDS = 100
_TRIPS = 3_000
_LARGE = 300 * 1024
# requests of 500: just below what is noted by itself
_REQUESTS = 180
_NAMES = "-event_engine_client,-event_engine_listener"


def per_event(work: Callable[[], object], count: int = _COUNT) -> float:
    """Microseconds of CPU for each of `count` events."""
    work()
    began = time.process_time()
    for _ in range(_ROUNDS):
        work()
    return (time.process_time() - began) / _ROUNDS / count * 1e6


async def in_a_log(folder: Path) -> None:
    """Check, scan, window and stamp; and a start that finds notes again."""
    log = await Log.open(folder / "log.db")
    maker = events.Maker()
    request = PublishRequest(events=maker.many(range(_COUNT), os.urandom(256)))
    raw = request.SerializeToString()
    append = log.intake.request(raw)

    def in_python() -> None:
        decoded = PublishRequest.FromString(raw)
        violations_of(decoded)
        check_publish(decoded.events, 1 << 20)
        decoded.SerializeToString()

    window = IdWindow([0] * 256)
    line("check, protobuf and protovalidate", per_event(in_python), "µs an event")
    line("check, the scanner", per_event(lambda: log.intake.request(raw)), "µs an event")
    line("ids, the window", per_event(lambda: place(window, append.ids, append.types)), "µs an event")
    line("positions into a delivery", per_event(lambda: stamp(append.events, range(1, _COUNT + 1))), "µs an event")
    window.close()
    for _ in range(_REQUESTS):
        fresh = PublishRequest(events=maker.many(range(_COUNT), b"x" * 256))
        await log.submit(log.intake.request(fresh.SerializeToString()))
    # as a crash would leave it: what is noted at the close is not
    copy = copied(folder)
    await log.close()
    began = time.perf_counter()
    crashed = await Log.open(copy / "log.db")
    line(f"start after a crash, {crashed.head:,} events not noted", (time.perf_counter() - began) * 1e3, "ms")
    await crashed.close()


def copied(folder: Path) -> Path:
    """The files of an open log, copied."""
    copy = folder / "crashed"
    copy.mkdir()
    for path in folder.glob("log.db*"):
        if path.is_file() and not path.name.endswith(("-shm", "-lock")):
            (copy / path.name).write_bytes(path.read_bytes())
    return copy


def place(window: IdWindow, ids: bytes, types: bytes) -> None:
    """Remembers ids and forgets them again."""
    window.place(ids, types, 1, 0)
    window.remove(ids, types, 1)


def large() -> None:
    """Encoding a large message, before and after the allocator is told to keep memory."""
    message = PublishRequest(events=events.Maker().many(range(_LARGE // 400), b"x" * 256))
    before = per_event(message.SerializeToString, 1)
    keep_freed_memory()
    after = per_event(message.SerializeToString, 1)
    line("encoding 300 KiB, memory given back", before, "µs")
    line("encoding 300 KiB, memory kept", after, "µs")


async def serve(address: str) -> None:
    """Answers each message of a stream with itself."""

    async def echo(requests: object, _: object) -> object:
        async for request in requests:  # type: ignore[attr-defined]  # an iterator of bytes
            yield request

    handlers: dict[str, Any] = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


async def trips(address: str) -> None:
    """Prints the median of some round trips, in microseconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream("/bench.Echo/Echo")(wait_for_ready=True)
        took = []
        for _ in range(_TRIPS):
            began = time.perf_counter()
            await call.write(b"x" * 380)
            await call.read()
            took.append(time.perf_counter() - began)
        call.cancel()
    print(sorted(took)[_TRIPS // 2] * 1e6)


def round_trip(experiments: str, folder: Path) -> float:
    """The median round trip between two processes with these experiments of gRPC's."""
    address = f"unix:{folder}/{len(experiments)}.sock"
    env = {**os.environ, "GRPC_EXPERIMENTS": experiments}
    command = [sys.executable, "-m", "bench.bus.parts"]
    with subprocess.Popen([*command, "serve", address], env=env) as server:
        try:
            return float(subprocess.run([*command, "trips", address], env=env, capture_output=True, text=True, check=True).stdout)
        finally:
            server.terminate()


def line(what: str, figure: float, unit: str) -> None:
    """Prints a line of the table."""
    print(f"{what:50} {figure:10.3f}  {unit}", flush=True)


def main() -> None:
    """Prints the table."""
    if len(sys.argv) > 1:
        asyncio.run({"serve": serve, "trips": trips}[sys.argv[1]](sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        contracts = Path(folder) / "bench.binpb"
        events.write_contracts(contracts)
        extra_contracts.load([str(contracts)])
        large()
        asyncio.run(in_a_log(Path(folder)))
        line("round trip of a stream message, gRPC as it is", round_trip("", Path(folder)), "µs")
        line("the same without its event engine", round_trip(_NAMES, Path(folder)), "µs")


if __name__ == "__main__":
    main()
