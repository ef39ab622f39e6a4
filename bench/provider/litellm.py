"""LiteLLM's proxy as a peer: installed once into an environment of its own, started on a free port with a configuration."""

import json
import os
import secrets
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
_KEYS = """
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.hooks.proxy_track_cost_callback import ProxyDBLogger

accounting = ProxyDBLogger()

async def customer(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, max_budget=None if api_key == "sk-warm" else {limit})
"""
_WITH_BUDGETS = """
model_list:
  - model_name: gpt-5-mini
    litellm_params: {{ model: openai/gpt-5-mini, api_base: "{url}/v1", api_key: sk-none }}
litellm_settings: {{ telemetry: false, enable_post_custom_auth_checks: true, callbacks: [bench_keys.accounting] }}
general_settings: {{ custom_auth: bench_keys.customer, custom_auth_run_common_checks: true, disable_budget_reservation: {off} }}
"""


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


@contextmanager
def with_budgets(folder: Path, url: str, limit: float, *, reserves: bool = True) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The proxy with a budget of `limit` dollars for each key but "sk-warm"; its own code checks, reserves and settles.

    LiteLLM keeps keys, customers and their budgets in PostgreSQL by way of Prisma, whose query engine is a binary that its
    installer fetches from a server of its own (binaries.prisma.sh); no package of a registry holds it, and without a database
    LiteLLM neither knows keys nor counts spending. So this is the closest that it offers: its own hook for authentication gives
    each key its budget, its own accounting (`ProxyDBLogger`, which it starts with a database only) is named as a callback, and its
    counters are in its memory.
    """
    (folder / "bench_keys.py").write_text(_KEYS.format(limit=limit))
    config = _WITH_BUDGETS.format(url=url, off=json.dumps(not reserves))
    with litellm(folder, config, {"LITELLM_MASTER_KEY": f"sk-{secrets.token_urlsafe(32)}"}) as running:
        yield running


def _ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health/liveliness").is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"LiteLLM did not start: {log.read_text()[-2000:]}")
