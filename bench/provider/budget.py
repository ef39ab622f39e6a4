"""Budgets that hold: exact under concurrency and over replicas, under the public stress of spend limits, and how fast.

`python -m bench.provider.budget [exact] [stress] [pairs] [--small]`; all three when none is named. Exit code 1: a bar is missed.
"""

import asyncio
import sys

from bench.provider import exact, pairs, stress

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
        customers = 5 if small else 250
        print(f"== {customers} customers, bursts of 20, oversized answers, the store locked, kill -9")
        missed += [] if stress.show(asyncio.run(stress.rows(customers, outage=1.0 if small else 3.0))) else ["stress"]
    if "pairs" in wanted:
        print("== reserve + settle with synchronous=FULL")
        # a small run proves that it runs, not how fast it is
        missed += [] if pairs.show(asyncio.run(pairs.rows(200 if small else 6000))) or small else ["pairs"]
    print("every bar is met" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
