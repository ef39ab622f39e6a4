"""Every service under every fault: once it is healed the service goes on, and all that it has acknowledged stands, once.

`make test` takes half of the faults for each service, others each time; `make chaos` all of them, and then as many rounds with two
at a time as TOOLOO_CHAOS_ROUNDS says. The seed is printed; TOOLOO_TEST_SEED repeats it.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mesh.catalogue import SERVICES
from tests.robustness.chance import dice, how_many
from tests.robustness.matrix.faults import FAULTS, NEVER_BESIDE, Fault
from tests.robustness.matrix.scenario import scenario_of
from tests.robustness.matrix.stand import Stand, standing
from tests.robustness.matrix.validators import broken

ROUNDS = how_many("TOOLOO_CHAOS_ROUNDS", 0)
# the bus, through which the services are looked at here, has its own tests of every fault
NAMES = [spec.name for spec in SERVICES if spec.module and spec.name != "bus"]
_LASTS = 0.3


@pytest.mark.parametrize("service", NAMES)
async def test_what_was_promised_stands_after_every_fault(service: str, tmp_path: Path) -> None:
    """Faults come one after another while the service is in use; after each of them everything is looked at."""
    chance = dice(f"faults of {service}")
    scenario = scenario_of(service, tmp_path, chance)
    async with standing(service, tmp_path, scenario, chance) as stand:
        found = {}
        for faults in _plan(chance):
            name = " and ".join(fault.__name__ for fault in faults)
            print(name)
            if wrong := await _after(faults, stand, chance):
                found[name] = wrong
        print(f"{service}: {stand.caller.answered} calls answered, refused: {dict(stand.caller.refused)}")
    assert found == {}


def _plan(chance: random.Random) -> list[list[Fault]]:
    """Faults one by one; and, in rounds of all of them, each with another one beside it."""
    plan = [[fault] for fault in chance.sample(FAULTS, len(FAULTS) if ROUNDS else len(FAULTS) // 2)]
    for _ in range(ROUNDS):
        for fault in chance.sample(FAULTS, len(FAULTS)):
            beside = [other for other in FAULTS if other is not fault and not {fault, other} <= NEVER_BESIDE]
            plan.append([fault, chance.choice(beside)])
    return plan


async def _after(faults: list[Fault], stand: Stand, chance: random.Random) -> list[str]:
    """What is broken once the faults are healed."""
    stand.alone = len(faults) == 1
    async with stand.in_use():
        async with AsyncExitStack() as there:
            for fault in faults:
                await there.enter_async_context(fault(stand, chance))
            await asyncio.sleep(chance.uniform(0.0, _LASTS))
        await stand.ready()
        await stand.answers()
        await stand.goes_on()
    return await broken(stand)
