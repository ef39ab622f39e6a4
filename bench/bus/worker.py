"""A publisher or consumer of ours in a process of its own, as the harness starts the peers': `python -m bench.bus.worker JSON`."""

import json
import subprocess
import sys
from typing import Any

import uvloop

from bench.bus import server, shared
from bench.bus.adapter import Adapter


def worker_class() -> Any:
    """The harness's handle of a worker, with our program in the place of the peers'."""

    class Worker(shared.harness().Worker):  # type: ignore[misc] # its base is known at run time only
        """Starts this module."""

        def __init__(self, peer: str, cfg: dict[str, Any], uvloop_wanted: bool) -> None:
            command = [sys.executable, "-m", "bench.bus.worker", json.dumps(cfg)]
            self.p = subprocess.Popen(command, cwd=server.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.peer, self.cfg = peer, cfg

    return Worker


if __name__ == "__main__":
    uvloop.run(shared.harness().worker(Adapter, json.loads(sys.argv[1])))
