"""Budgets that hold: exact under concurrency and over replicas, under the public stress of spend limits, and how fast.

`python -m bench.provider.budget [exact] [stress] [pairs] [--small]`; all three when none is named. Exit code 1: a bar is missed.
The stress runs LiteLLM's proxy beside ours (bench/provider/litellm.py installs it once), unless it is small.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench.provider import beside, exact, full_disk, pairs, stress
from tests.robustness.faults.full import WAYS

PARTS = ("exact", "stress", "pairs")


def main(arguments: list[str]) -> int:
    """Runs the parts that are named, or all, and prints a table each."""
    small = "--small" in arguments
    wanted = [part for part in PARTS if part in arguments] or list(PARTS)
    missed = []
    if "exact" in wanted:
        print("== 1,000 concurrent calls of $0.10 against $5.00")
        missed += [] if exact.show(asyncio.run(exact.rows(200 if small else 1000))) else ["exact"]
    if "stress" in wanted:
        missed += _stress(small=small)
    if "pairs" in wanted:
        print("== reserve + settle with synchronous=FULL")
        # a small run proves that it runs, not how fast it is
        missed += [] if pairs.show(asyncio.run(pairs.rows(200 if small else 6000))) or small else ["pairs"]
    print("every bar is met" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed else 0


def _stress(*, small: bool) -> list[str]:
    """The stress in three parts; gives those that missed."""
    missed = []
    customers = 5 if small else 250
    print(f"== {customers} customers, bursts of 20, oversized answers, the store locked, kill -9")
    missed += [] if stress.show(asyncio.run(stress.rows(customers, outage=1.0 if small else 3.0))) else ["stress"]
    print("== the same on a disk that fills up")
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        room = WAYS[-1](Path(folder) / "scratch", Path(folder) / "var")
        found = asyncio.run(full_disk.measure(room, Path(folder) / "var", 4 if small else 20))
    missed += [] if full_disk.show(found) else ["full disk"]
    print("== the bursts at the HTTP doors, one aimock at the far end; 'no reserve' looks at what is spent only")
    missed += [] if beside.show(asyncio.run(beside.rows(customers, peers=not small))) else ["doors"]
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
