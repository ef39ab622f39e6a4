"""kill -9 of random processes under load: what was acknowledged stands, and every effect stands once.

`make test` kills 25 times, `make chaos` as often as TOOLOO_CHAOS_KILLS says. The seed is printed; TOOLOO_TEST_SEED repeats it.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

from tests.robustness.chance import dice, how_many
from tests.robustness.exact import all_serve, ledger_is_exact, listeners_are_exact, log_is_exact
from tests.robustness.load import Load
from tests.support.mesh import Mesh, running_mesh

KILLS = how_many("TOOLOO_CHAOS_KILLS", 25)
VICTIMS = ("bus", "learning", "provider", "orchestration", "analytics", "integration", "context", "envoy")
USER = "survivor"
# kills between two moments at which callers are let in, and the seconds that such a moment takes at most
IN_A_ROW, PATIENCE = 5, 30


async def test_nothing_acknowledged_is_lost_and_nothing_applied_twice(tmp_path: Path) -> None:
    """Ledger, log, analytics and what learning heard hold exactly what callers were promised."""
    chance = dice(f"{KILLS} kills of the mesh")
    with running_mesh(tmp_path / "var", {"TOOLOO_RESTART_BACKOFF_LIMIT": "400ms"}) as mesh:
        load = Load(mesh, chance.randrange(2**31), USER)
        running = asyncio.create_task(load.run(callers=9))
        killed = await _kill_at_random(mesh, chance, load)
        await all_serve(mesh)
        load.stop()
        await running
        promised = load.promised
        figures = f"{promised.usages} usages, {len(promised.metric_events)} values, {len(promised.selections)} selections"
        print(f"killed {dict(killed)}; promised {figures}")
        assert not promised.unexpected
        assert promised.usages
        assert promised.metric_events
        assert promised.selections
        await ledger_is_exact(mesh, load)
        await log_is_exact(mesh, load)
        await listeners_are_exact(mesh, load)


async def _kill_at_random(mesh: Mesh, choice: random.Random, load: Load) -> Counter[str]:
    """Kills processes one after another, some of them while the one before is still starting."""
    killed: Counter[str] = Counter()
    while killed.total() < KILLS:
        pids = {name: pid for name, pid in (await _pids(mesh)).items() if pid}
        victim = choice.choice([name for name in VICTIMS if name in pids])
        # one that ends by itself at the same time, e.g. as it starts, is none that was killed
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[victim], signal.SIGKILL)
            killed[victim] += 1
        await asyncio.sleep(choice.uniform(0.1, 0.9))
        if killed.total() % IN_A_ROW == 0:
            await _every_kind_is_answered(load)
    return killed


async def _every_kind_is_answered(load: Load) -> None:
    """Lets callers have an answer: on a busy machine a process takes longer to start than until the next one is killed."""
    before = _answered(load)
    for _ in range(PATIENCE * 10):
        if all(now > then for now, then in zip(_answered(load), before, strict=True)):
            return
        await asyncio.sleep(0.1)


def _answered(load: Load) -> tuple[int, ...]:
    promised = load.promised
    return promised.usages, len(promised.metric_events), len(promised.selections)


async def _pids(mesh: Mesh) -> dict[str, int]:
    """Process ids by service, asked of the kernel: the door may be dead just now."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == mesh.pid:
            # one that is only being started has the command of who starts it
            name = "envoy" if "envoy" in command[0] else "".join(command[2:3]).removeprefix("services.")
            found[name] = int(folder.name)
    return found
