"""LiteLLM's proxy as a peer: installed once into an environment of its own, started on a free port with a configuration."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from envoy.testing import free_ports
from tests.support.mesh import ROOT

VERSION = "litellm[proxy]==1.108.7"
PEER = ROOT / "build" / "peers" / "litellm"


def install() -> Path:
    """LiteLLM's proxy in an environment of its own; gives its command."""
    command = PEER / "bin" / "litellm"
    if not command.exists():
        print(f"installing {VERSION} into {PEER.relative_to(ROOT)}: 600 MB, once")
        subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
        subprocess.run([PEER / "bin" / "python", "-m", "pip", "install", "--quiet", VERSION], check=True)
    return command


@contextmanager
def litellm(folder: Path, config: str, settings: Mapping[str, str] | None = None) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The proxy on a free port with this configuration; gives the port and the process."""
    [port] = free_ports(1)
    (folder / "litellm.yaml").write_text(config)
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", **(settings or {})}
    command = [str(install()), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
        try:
            _ready(port, process, folder / "litellm.log")
            yield port, process
        finally:
            process.terminate()
            process.wait()


def _ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health/liveliness").is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"LiteLLM did not start: {log.read_text()[-2000:]}")
