"""SIGKILL at random moments: the server, a publisher, a consumer, one of them after the other."""

import asyncio
import random
from collections import Counter

from mesh.follow import BusClient
from tests.integration.bus_bench import event
from tests.robustness.actor import Actor
from tests.robustness.bus_process import BusProcess

_LONGEST_LIFE = 0.4


async def kill_at_random(times: int, dice: random.Random, bus: BusProcess, client: BusClient, actors: list[Actor]) -> Counter[str]:
    """Kills so often, and starts each victim anew at once; the server is killed while it serves, or while it recovers."""
    killed: Counter[str] = Counter()
    victims: list[BusProcess | Actor] = [bus, *actors]
    for _ in range(times):
        await asyncio.sleep(dice.uniform(0.0, _LONGEST_LIFE))
        victim = dice.choice(victims)
        # the other quarter hits a server that is still starting
        if victim is bus and dice.random() < 0.75:
            await client.publish([event()], timeout=None)
        await victim.kill()
        await victim.start()
        killed[victim.name] += 1
    return killed
