"""The public stress of spend limits: many customers, bursts of 20, oversized answers, a store that is away, kill -9.

After the shape of a public test of a gateway's spend limits (LiteLLM, discussion 50438, October 2026), whose safe settings let
four of twenty calls of a burst through. A customer has a budget that denies. Calls are made as a gateway would: reserve, call,
top up while the answer is streamed, settle. Two ways to reserve are compared: what was learned of the model's answers, and the
worst case (max_output_tokens), which is what a gateway without estimates must hold to be safe. Two replicas share one file.
"""

import asyncio
import random
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.provider.customers import LIMIT, TTL, Audit, Customer, audit, in_groups, open_accounts, oversized, usual, warm_up
from bench.provider.gateway import Gateway
from bench.provider.replicas import replicas
from services.provider import money


@dataclass
class Outcome:
    """What one way came to."""

    way: str
    affordable: list[int]
    oversized: list[int]
    calls: int
    admitted: int
    # spent beyond the limits after the two rounds of bursts, before anything else went wrong
    early_overshoot: int
    audit: Audit
    outage_admitted: int
    lost: int
    seconds: float


async def measure(*, worst_case: bool, customers: int, seed: int, outage: float) -> Outcome:
    """The whole stress in one way, on a new file."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        async with replicas(2, Path(folder), {"TOOLOO_BUSY_TIMEOUT": "500ms"}) as processes:
            gateway = Gateway(processes, random.Random(seed), worst_case=worst_case)
            known = await open_accounts(processes[0].channel, customers)
            await warm_up(gateway.call, gateway.chance)
            affordable = await in_groups([gateway.burst(customer, usual) for customer in known], 10)
            large = await in_groups([gateway.burst(customer, oversized) for customer in known], 10)
            early = sum(max(customer.spent - LIMIT, 0) for customer in known)
            during = await _without_store(gateway, known, Path(folder), outage)
            await _with_kills(gateway, known)
            # what nobody settles expires
            await asyncio.sleep(TTL.seconds + 2)
            return Outcome(
                "worst case" if worst_case else "learned estimate",
                affordable,
                large,
                gateway.calls,
                _reservations(Path(folder)),
                early,
                await audit(processes[0].channel, known),
                during,
                sum(customer.lost for customer in known),
                time.perf_counter() - begin,
            )


async def _without_store(gateway: Gateway, known: list[Customer], folder: Path, seconds: float) -> int:
    """Somebody else holds the store's write lock; bursts that come meanwhile are asked once. Gives how many were let through."""
    path = folder / "provider" / "provider.db"

    async def hold() -> None:
        with sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False) as lock:
            await asyncio.to_thread(lock.execute, "BEGIN IMMEDIATE")
            locked.set()
            await asyncio.sleep(seconds)
            lock.execute("ROLLBACK")
        lock.close()

    locked = asyncio.Event()
    holding = asyncio.create_task(hold())
    await locked.wait()
    some = known[: max(len(known) // 10, 1)]
    let_through = [await gateway.burst(customer, usual, once=True) for customer in some[:3]]
    await holding
    # those whose request was waiting when the lock went are admitted in order; it comes back for everybody
    await in_groups([gateway.burst(customer, oversized) for customer in some], 10)
    return sum(let_through)


async def _with_kills(gateway: Gateway, known: list[Customer]) -> None:
    """Bursts go on while first one and then the other process is killed and comes back; some gateways die with their calls."""

    async def kills() -> None:
        for process in gateway.processes:
            await asyncio.sleep(0.3)
            await process.kill()
            await process.start()

    killing = asyncio.create_task(kills())
    await in_groups([gateway.burst(customer, oversized, dies=0.05) for customer in known], 10)
    await killing


def _reservations(folder: Path) -> int:
    """How many the store holds."""
    with sqlite3.connect(folder / "provider" / "provider.db") as file:
        found = int(file.execute("SELECT COUNT(*) FROM reservation").fetchone()[0])
    file.close()
    return found


async def rows(customers: int = 250, seed: int = 50438, outage: float = 3.0) -> list[Outcome]:
    """Both ways, with the same seed."""
    return [await measure(worst_case=worst_case, customers=customers, seed=seed, outage=outage) for worst_case in (False, True)]


def show(found: list[Outcome]) -> bool:
    """Prints the table; gives whether what was learned meets the bar."""
    names = (
        "burst of 20: least",
        "mean",
        "calls",
        "admitted",
        "over cap $",
        "true overrun $",
        "beyond it $",
        "ledger right",
        "lost",
        "left",
    )
    print(f"{'reserved':17}" + "".join(f"{name:>20}" if number == 0 else f"{name:>15}" for number, name in enumerate(names)))
    for row in found:
        figures = (
            f"{sum(row.affordable) / len(row.affordable):.1f}",
            row.calls,
            row.admitted,
            money.show(row.audit.overshoot),
            money.show(row.audit.overrun),
            money.show(row.audit.beyond),
            "yes" if row.audit.ledger == row.audit.spent else f"no: {money.show(row.audit.ledger - row.audit.spent)}",
            row.lost,
            money.show(row.audit.still_reserved),
        )
        print(f"{row.way:17}{min(row.affordable):20}" + "".join(f"{figure!s:>15}" for figure in figures))
    ours = found[0]
    seconds = sum(row.seconds for row in found)
    print(f"{ours.outage_admitted} calls that came while the store was away were admitted when it was back; {seconds:.0f} s")
    return all(row.audit.right for row in found) and min(ours.affordable) >= 18
