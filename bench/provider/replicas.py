"""Real processes of the provider service on one folder of data, each with its gRPC socket, that can be killed and come back."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

HERE = Path(__file__).resolve().parents[2]
_READY_SECONDS = 60


class Process:
    """One replica: a process, and a channel to it; `before` stands before its command (e.g. nsenter)."""

    def __init__(self, number: int, data: Path, sockets: Path, settings: Mapping[str, str], before: Sequence[str] = ()) -> None:
        self._number = number
        self._address = f"unix:{sockets / f'provider-{number}.sock'}"
        self._env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE / "build" / "api"))),
            "TOOLOO_DATA_FOLDER": str(data),
            "TOOLOO_SOCKET_FOLDER": str(sockets),
            "TOOLOO_REPLICA": str(number),
            "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
            "TOOLOO_LOG_LEVEL": "CRITICAL",
            **settings,
        }
        self._command = (*before, sys.executable, "-m", "services.provider")
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None
        # of processes that were killed: closing a channel cancels its calls, which is not what a crash does
        self._old: list[grpc.aio.Channel] = []

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to the process that runs."""
        if self._channel is None:
            raise RuntimeError("start it first")
        return self._channel

    @property
    def pid(self) -> int:
        """Id of the process that runs."""
        if self._process is None:
            raise RuntimeError("start it first")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the process and waits until it serves."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdout=asyncio.subprocess.DEVNULL, cwd=HERE
        )
        self._channel = grpc.aio.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)])
        async with asyncio.timeout(_READY_SECONDS):
            await health_pb2_grpc.HealthStub(self._channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)

    async def kill(self) -> None:
        """Ends the process as a crash does (SIGKILL): its calls fail, its channel stays for those who wait on it."""
        if self._channel is not None:
            self._old.append(self._channel)
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ends the process in order."""
        for channel in (*self._old, *([self._channel] if self._channel else [])):
            await channel.close()
        await self._end(signal.SIGTERM)

    async def _end(self, by: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(by)
            await self._process.wait()


@asynccontextmanager
async def replicas(
    count: int, data: Path, settings: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> AsyncIterator[list[Process]]:
    """So many replicas on one folder of data."""
    # a socket's path is short by law of the kernel
    with tempfile.TemporaryDirectory(prefix="tooloo-") as sockets:
        running = [Process(number, data, Path(sockets), settings or {}, before) for number in range(count)]
        try:
            # one after the other: the first makes the schema
            for process in running:
                await process.start()
            yield running
        finally:
            for process in running:
                await process.stop()
