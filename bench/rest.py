"""REST through Envoy beside FastAPI + uvicorn: one read and one write call, the same durability, in one run.

`python -m bench.rest [seconds] [connections]` starts a whole mesh and the peer, loads them in turn, interleaved; prints a table.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.http_load import Figures, get, load, post
from envoy.testing import free_ports
from tests.support.mesh import ROOT, running_mesh

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
CONNECTIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 32
ROUNDS = 5
BODY = '{"name":"bench_value","value":1.5,"labels":{"page":"home"}}'
READ, WRITE = "GET /api/v1/budgets/{id}", "POST /api/v1/analytics/log"


@contextmanager
def peer(folder: Path) -> Iterator[int]:
    """FastAPI on uvicorn with uvloop and httptools as installed; gives its port."""
    port = free_ports(1)[0]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "bench.rest_peer:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
        "--no-access-log",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "DATABASE": str(folder / "peer.db")})
    try:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport) as client:
            client.get(f"http://127.0.0.1:{port}/api/v1/budgets/bench").raise_for_status()
        yield port
    finally:
        process.terminate()
        process.wait()


def _requests(port: int, budget: str) -> dict[str, bytes]:
    return {READ: get(f"/api/v1/budgets/{budget}", port), WRITE: post("/api/v1/analytics/log", port, BODY)}


def _measure(ours: int, theirs: int) -> dict[tuple[str, str, int], list[Figures]]:
    """Every scenario in every round, ours and theirs next to each other, so that both see the same machine."""
    found: dict[tuple[str, str, int], list[Figures]] = {}
    for _ in range(ROUNDS):
        for call in (READ, WRITE):
            for connections in (1, CONNECTIONS):
                for who, port, budget in (("tooloo", ours, "default"), ("fastapi", theirs, "bench")):
                    figures = asyncio.run(load(port, _requests(port, budget)[call], connections, SECONDS))
                    found.setdefault((call, who, connections), []).append(figures)
    return found


def _print(found: dict[tuple[str, str, int], list[Figures]]) -> None:
    print(f"REST, {SECONDS:g} s a scenario, median of {ROUNDS} rounds; synchronous=FULL on both sides, answers after the commit")
    head = f"{'call':28} {'conns':>5} {'who':8} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'failed':>6}"
    print(f"{head}  ours / theirs: req/s, p99")
    for call in (READ, WRITE):
        for connections in (1, CONNECTIONS):
            ours, theirs = Figures.median(found[call, "tooloo", connections]), Figures.median(found[call, "fastapi", connections])
            for who, each in (("tooloo", ours), ("fastapi", theirs)):
                row = f"{call:28} {connections:5} {who:8} {each.rate:8.0f} {each.p50_ms:8.2f} {each.p99_ms:8.2f} {each.failed:6}"
                print(row + (f"  {ours.rate / theirs.rate:.2f}, {ours.p99_ms / theirs.p99_ms:.2f}" if who == "tooloo" else ""))


def main() -> None:
    """Runs the comparison in a folder of its own."""
    # both on the same disk; the mesh's other processes are part of the price and stay up
    with (
        tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder,
        running_mesh(Path(folder) / "var") as mesh,
        peer(Path(folder)) as port,
    ):
        _print(_measure(mesh.door_port, port))


if __name__ == "__main__":
    main()
