"""The bus as users run it: `python -m bus`, a process of its own with default settings, on a folder that the bench gives."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from bench.bus import events

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60


def start(folder: Path, settings: dict[str, str] | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """Starts a bus that knows the bench's events; gives the process and its address, at which nobody may listen yet."""
    contracts = folder / "bench.binpb"
    events.write_contracts(contracts)
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'build' / 'api'}",
        "TOOLOO_DATA_FOLDER": str(folder),
        "TOOLOO_EXTRA_CONTRACTS": str(contracts),
        "TOOLOO_LOG_LEVEL": "WARNING",
        # it ends with the bench, however that ends
        "TOOLOO_SUPERVISOR": str(os.getpid()),
        **(settings or {}),
    }
    with (folder / "bus.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "bus"], cwd=ROOT, env=env, stdout=log, stderr=log)
    return process, f"unix:{folder / 'run' / 'bus-0.sock'}"


def wait_until_it_serves(process: subprocess.Popen[bytes], address: str) -> None:
    """Returns when calls are answered; RuntimeError when it ended instead."""
    with grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 50)]) as channel:
        ready = grpc.channel_ready_future(channel)
        for _ in range(_PATIENCE * 10):
            try:
                ready.result(0.1)
            except grpc.FutureTimeoutError:
                if process.poll() is not None:
                    raise RuntimeError(f"the bus ended with {process.returncode}; bus.log in its folder says why") from None
            else:
                return
    raise RuntimeError(f"the bus does not serve within {_PATIENCE} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL when that does not help."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(folder: Path, settings: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A bus that serves while the block runs."""
    process, address = start(folder, settings)
    try:
        wait_until_it_serves(process, address)
        yield process, address
    finally:
        stop(process)
