"""What it costs that the door counts every call: CPU of Envoy for a call with the statistics and without, and of a sample of them.

Run with `python -m bench.traffic`. The pairs take turns, so that whatever else the machine does falls on both alike.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from envoy import bootstrap
from envoy.door import Door
from envoy.filters import Config
from envoy.statistics import call_statistics
from envoy.testing import door_on_free_ports, running_door
from gateway.sampler import asking

_SERVICE = "tooloo.orchestration.v1.OrchestrationService"
_CALLS, _TURNS, _AT_A_TIME, _SAMPLES = 4000, 11, 16, 50
_MICRO = 1e6


async def _answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg] # generic in the stubs only
    return b""


@asynccontextmanager
async def _server(socket: Path) -> AsyncIterator[None]:
    handlers: dict[str, Any] = {"GetRun": grpc.unary_unary_rpc_method_handler(_answer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def _envoy_of(door: Door) -> psutil.Process:
    """The Envoy that listens on the door's port."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == door.port and connection.pid:
            return psutil.Process(connection.pid)
    raise RuntimeError("the door does not listen")


async def _calls(door: Door) -> float:
    """Microseconds of Envoy's CPU for a call."""
    envoy = _envoy_of(door)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{door.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_unary(f"/{_SERVICE}/GetRun")

        async def some() -> None:
            for _ in range(_CALLS // _AT_A_TIME):
                await call(b"", wait_for_ready=True)

        before = _seconds(envoy)
        await asyncio.gather(*(some() for _ in range(_AT_A_TIME)))
        return (_seconds(envoy) - before) / _CALLS * _MICRO


def _seconds(process: psutil.Process) -> float:
    """CPU of all its threads so far, to the nanosecond: the ticks of times() are as long as fifty calls."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


async def _sample(door: Door) -> tuple[float, float]:
    """Microseconds of Envoy's CPU and of this process's for one sample."""
    envoy, ask = _envoy_of(door), asking(door.admin_port)
    await ask()
    before, own = _seconds(envoy), time.process_time()
    for _ in range(_SAMPLES):
        await ask()
    return (_seconds(envoy) - before) / _SAMPLES * _MICRO, (time.process_time() - own) / _SAMPLES * _MICRO


def _without_statistics(plain: Door) -> None:
    """Takes the statistics out of what is rendered."""
    counted = call_statistics()
    original = bootstrap.render

    def render(door: Door) -> Config:
        config = original(door)
        if door is plain:
            for listener in config["static_resources"]["listeners"]:
                logs = listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
                logs[:] = [log for log in logs if log != counted]
        return config

    bootstrap.render = render


async def _measure(folder: Path) -> None:
    services = {"orchestration": (_SERVICE,)}
    counting, plain = (door_on_free_ports(folder / name, services) for name in ("counting", "plain"))
    socket = folder / "s.sock"
    _without_statistics(plain)
    async with (
        _server(socket),
        running_door(counting, folder / "counting", {"orchestration": [socket]}),
        running_door(plain, folder / "plain", {"orchestration": [socket]}),
    ):
        turns = [(await _calls(plain), await _calls(counting)) for _ in range(_TURNS)]
        more = [each[1] - each[0] for each in turns]
        envoys, own = await _sample(counting)
    _row("Envoy's CPU for a call without statistics", statistics.median(each[0] for each in turns))
    _row("Envoy's CPU for a call with them", statistics.median(each[1] for each in turns))
    _row("more for a call (median of the pairs)", statistics.median(more))
    _row("Envoy's CPU for one sample", envoys)
    _row("the process manager's CPU for one sample", own)


def _row(what: str, microseconds: float) -> None:
    sys.stdout.write(f"{what:<45} {microseconds:>8.1f} µs\n")


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="tooloo-") as folder:
        for name in ("counting", "plain"):
            (Path(folder) / name).mkdir()
        asyncio.run(_measure(Path(folder)))


if __name__ == "__main__":
    main()
