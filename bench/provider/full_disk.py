"""The stress of spend limits on a disk that fills up: bursts go on meanwhile, and after room was made."""

import asyncio
import random
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.provider.customers import Audit, Customer, audit, in_groups, open_accounts, oversized, usual, warm_up
from bench.provider.gateway import FULL, Gateway
from bench.provider.replicas import replicas
from services.provider import money
from tests.robustness.faults.full import Room

# what the disk has left when it is said to be full: a few transactions
_LEFT = 64 * 1024
_PATIENCE_SECONDS = 60
_ROUNDS = 3


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    customers: int
    # of calls that were made while the disk was full and asked for once, by reason; those that were let through at last too
    refused: Counter[str]
    admitted: int
    # of a burst for each customer, after there was room again
    after: int
    audit: Audit

    @property
    def right(self) -> bool:
        """The refusals named the disk, it goes on, and the ledger is right."""
        return self.refused[FULL] > 0 and self.after > 0 and self.audit.right


async def measure(room: AbstractContextManager[Room], folder: Path, customers: int, seed: int = 50438) -> Outcome:
    """Bursts before, during and after; `folder` is where `room` has its limit."""
    with room as disk:
        async with replicas(2, folder, disk.env, disk.before) as processes:
            gateway = Gateway(processes, random.Random(seed), worst_case=False)
            known = await open_accounts(processes[0].channel, customers)
            await warm_up(gateway.call, gateway.chance, calls=40)
            await in_groups([gateway.burst(customer, usual) for customer in known[: customers // 2]], 5)
            disk.fill(_LEFT)
            begun = []
            async with asyncio.timeout(_PATIENCE_SECONDS):
                # one whom no budget stops uses up what is left; its calls, and others', are settled when there is room
                while not gateway.refused[FULL]:
                    begun.append(asyncio.create_task(gateway.burst(Customer("warm"), oversized, once=True)))
                    await asyncio.sleep(0.1)
            for _ in range(_ROUNDS):
                begun += [asyncio.create_task(gateway.burst(customer, oversized, once=True)) for customer in known]
                await asyncio.sleep(0.5)
            # what can be answered without writing is answered
            await audit(processes[0].channel, known)
            disk.make_room()
            admitted = sum(await asyncio.gather(*begun))
            after = await in_groups([gateway.burst(customer, usual) for customer in known], 5)
            # nothing waits any more: what was refused must not be held either
            return Outcome(customers, gateway.refused, admitted, sum(after), await audit(processes[0].channel, known))


def show(found: Outcome) -> bool:
    """Prints what came of it."""
    why = ", ".join(f"{count} {reason}" for reason, count in found.refused.most_common())
    print(f"{found.customers} customers while the disk was full: {found.admitted} calls admitted, refused: {why}")
    sums = found.audit
    ledger = "right" if sums.ledger == sums.spent else f"wrong by {money.show(sums.ledger - sums.spent)}"
    beyond = f"true overrun $ {money.show(sums.overrun)}, beyond it $ {money.show(sums.beyond)}"
    print(f"after room was made: {found.after} calls admitted, ledger {ledger}, left $ {money.show(sums.still_reserved)}")
    print(f"over cap $ {money.show(sums.overshoot)}, {beyond}")
    return found.right
