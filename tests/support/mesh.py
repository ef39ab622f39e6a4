"""A whole mesh under test: `python -m gateway` on free ports and a folder of its own, asked by REST, gRPC and SSE."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx

from envoy.testing import free_ports
from mesh.catalogue import SERVICES

ROOT = Path(__file__).resolve().parents[2]
NAMES = tuple(spec.name for spec in SERVICES)
T = TypeVar("T")
# boot takes seconds; a loaded machine may take many times that
_BOOT_SECONDS = 180
_STOP_SECONDS = 90
_ANSWER_SECONDS = 120


class Mesh:
    """The process manager of a mesh, with everything that is needed to ask it; `root` is the checkout that it runs from."""

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, *, root: Path = ROOT, services: Sequence[str] = NAMES
    ) -> None:
        self.folder = folder
        self._root = root
        self._sockets = tempfile.TemporaryDirectory(prefix="tooloo-")
        ports = iter(free_ports(len(services) + 2))
        self.door_port, self.admin_port = next(ports), next(ports)
        self.ports = {name: next(ports) for name in services}
        self.env = {
            **os.environ,
            "TOOLOO_DATA_FOLDER": str(folder),
            "TOOLOO_SOCKET_FOLDER": self._sockets.name,
            "TOOLOO_DOOR_PORT": str(self.door_port),
            "TOOLOO_ADMIN_PORT": str(self.admin_port),
            # an answer that is to come may take longer on a machine that is busy with other tests
            "TOOLOO_DOOR_CALL_TIMEOUT": f"{_ANSWER_SECONDS}s",
            "TOOLOO_DOOR_KEEPALIVE": "60s",
            **{f"TOOLOO_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "terminal.log"

    @property
    def url(self) -> str:
        """Address of the door for REST."""
        return f"http://127.0.0.1:{self.door_port}"

    @property
    def target(self) -> str:
        """Address of the door for gRPC."""
        return f"127.0.0.1:{self.door_port}"

    @property
    def pid(self) -> int:
        """Process id of the process manager."""
        if self._process is None:
            raise RuntimeError("the mesh does not run; start it first")
        return self._process.pid

    def start(self) -> None:
        """Starts the mesh and waits until it says that it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway"],
                cwd=self._root,
                env=self.env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        for _ in range(_BOOT_SECONDS * 20):
            if process.poll() is not None:
                raise RuntimeError(f"the mesh ended with {process.returncode}:\n{self.terminal()}")
            if "The mesh is ready" in self.terminal():
                return
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        raise RuntimeError(f"the mesh is not ready after {_BOOT_SECONDS} s:\n{self.terminal()}")

    def terminal(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> None:
        """Stops the mesh as Ctrl-C does."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def kill_manager(self) -> None:
        """Kills the process manager itself, as an out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Stops the mesh and removes its sockets; its data folder stays."""
        self.stop()
        self._sockets.cleanup()

    def rest(self, **options: Any) -> httpx.AsyncClient:
        """A REST client of the door."""
        return httpx.AsyncClient(base_url=self.url, timeout=_ANSWER_SECONDS, **options)

    def channel(self, service: str = "") -> grpc.aio.Channel:
        """A gRPC channel to the door, or to a service's own port."""
        target = f"127.0.0.1:{self.ports[service]}" if service else self.target
        return grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])

    async def processes(self) -> list[dict[str, Any]]:
        """The processes as the system API lists them."""
        async with self.rest() as client:
            found: list[dict[str, Any]] = (await client.get("/api/v1/system/processes")).raise_for_status().json()["processes"]
            return found

    async def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends a signal to the first process of a service; gives its pid."""
        pid = next(each["pid"] for each in await self.processes() if each["service"] == service and each["pid"])
        os.kill(pid, number)
        return int(pid)

    async def events(self, *types: str) -> list[dict[str, Any]]:
        """Every event of these types in the log, in order, as REST gives them."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"page_size": 1000, "filter.types": list(types) or ["*"]}
        async with self.rest() as client:
            while True:
                page = (await client.get("/api/v1/events", params=params)).raise_for_status().json()
                found += page["events"]
                if not page["nextPageToken"]:
                    return found
                params["page_token"] = page["nextPageToken"]

    async def head(self) -> int:
        """Position of the newest event in the log."""
        async with self.rest() as client:
            return int((await client.get("/api/v1/events/stats")).raise_for_status().json()["headPosition"])

    async def follow(self, *types: str, after: int = 0) -> AsyncGenerator[dict[str, Any], None]:
        """The live stream of events as SSE gives it, after a position, else from the moment the stream stands."""
        params: dict[str, Any] = {"types": list(types), "after_position": after}
        async with self.rest() as client, client.stream("GET", "/api/v1/events/follow", params=params, timeout=None) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))


# a process that is gone, and one that ended in good order while the call was under way
_AWAY = (httpx.codes.SERVICE_UNAVAILABLE, 499)


async def eventually(ask: Callable[[], Awaitable[T]], satisfied: Callable[[T], bool], seconds: float = 60) -> T:
    """Asks until the answer satisfies; AssertionError with the last answer when it does not in time.

    Something that is away for a moment, for a process is being started again, is asked again too.
    """
    last: T | httpx.HTTPError | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    last = answer = await ask()
                    if satisfied(answer):
                        return answer
                except httpx.HTTPError as error:
                    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in _AWAY:
                        raise
                    last = error
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not satisfied within {seconds} s; the last answer was {last!r}") from None


@contextmanager
def running_mesh(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Mesh]:
    """A mesh that runs while the block does."""
    mesh = Mesh(folder, env)
    mesh.start()
    try:
        yield mesh
    finally:
        mesh.close()
