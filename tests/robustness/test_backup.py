"""Backups of a mesh under load, each restored elsewhere and started: what was promised before it stands, and stands once.

`make test` takes and restores one, `make chaos` as many as TOOLOO_CHAOS_BACKUPS says. The seed is printed; TOOLOO_TEST_SEED repeats
it.
"""

import asyncio
import json
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooloo.event.v1.event_pb2 import Event

from tests.robustness.chance import dice, how_many
from tests.robustness.exact import all_serve
from tests.robustness.load import Load
from tests.robustness.on_disk import floor_on_disk, log_on_disk
from tests.support.mesh import ROOT, Mesh, eventually, running_mesh
from tests.support.waiting import until

BACKUPS = how_many("TOOLOO_CHAOS_BACKUPS", 1)
USER = "survivor"
HEARD = {"analytics": {"metric.logged", "provider.selected"}, "learning": {"provider.selected"}}


@dataclass
class Promises:
    """What had been acknowledged by a moment: ids of events, usages and their tokens."""

    metrics: set[str]
    selections: int
    usages: int
    tokens: int

    @classmethod
    def of(cls, load: Load) -> "Promises":
        """Those of this moment."""
        told = load.promised
        return cls(set(told.metric_events), len(told.selections), told.usages, told.tokens)


async def tooloo(mesh: Mesh, *words: str) -> dict[str, Any]:
    """What the command answers under --json."""
    command = [sys.executable, "-m", "mesh.cli", *words, "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=mesh.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, remarks = await process.communicate()
    assert process.returncode == 0, remarks.decode()
    answer: dict[str, Any] = json.loads(told)
    return answer


async def test_a_backup_under_load_keeps_every_promise(tmp_path: Path) -> None:
    """Taken at random moments. Offline the copies fit each other; restored and settled, log, listeners and ledger say the same."""
    chance = dice(f"{BACKUPS} backups of a mesh under load")
    taken: list[tuple[Path, Promises]] = []
    with running_mesh(tmp_path / "var") as mesh:
        load = Load(mesh, chance.randrange(2**31), USER)
        running = asyncio.create_task(load.run(callers=9))
        for number in range(BACKUPS):
            await asyncio.sleep(chance.uniform(0.5, 2))
            await until(lambda: load.promised.metric_events)
            promised, target = Promises.of(load), tmp_path / f"backup-{number}"
            answer = await tooloo(mesh, "backup", str(target))
            print(f"backup {number}: nobody could write for {answer['pauseMs']} ms, events up to {answer['headPosition']}")
            taken.append((target, promised))
        load.stop()
        await running
        assert not load.promised.unexpected
        at_the_end = Promises.of(load)
    for target, promised in taken:
        copies_fit(target / "data", promised)
        await restored_keeps(tmp_path / f"restored-{target.name}", target, promised, at_the_end)


def copies_fit(data: Path, promised: Promises) -> None:
    """What is promised is in the outbox or the log, and what the bus takes for settled the listener has handled."""
    assert not list(data.rglob("*.db-*")), "a file of SQLite's own stands beside the copies"
    log = log_on_disk(data / "bus" / "log.db")
    logged = {event.id for event in log}
    assert promised.metrics <= logged | _outbox(data / "analytics" / "analytics.db")
    assert promised.metrics, "nothing was promised before: this proves nothing"
    for listener, types in HEARD.items():
        floor = floor_on_disk(data / "bus" / "log.db", listener)
        settled = {event.id for event in log if event.position <= floor and event.type in types}
        assert settled <= _inbox(data / listener / f"{listener}.db"), f"{listener} has not handled what the bus takes for settled"


def _outbox(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {Event.FromString(row[0]).id for row in connection.execute("SELECT event FROM outbox")}


def _inbox(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT event_id FROM inbox")}


async def restored_keeps(folder: Path, backup: Path, promised: Promises, at_the_end: Promises) -> None:
    """Restores into a new folder, starts, lets it settle, and counts."""
    mesh = Mesh(folder)
    try:
        await tooloo(mesh, "restore", str(backup))
        mesh.start()
        await all_serve(mesh)
        events = [event for event in await mesh.events() if event["type"] in HEARD["analytics"] and _is_ours(event)]
        ids = Counter(event["id"] for event in events if event["type"] == "metric.logged")
        selections = sum(event["type"] == "provider.selected" for event in events)
        assert promised.metrics <= set(ids) <= at_the_end.metrics
        assert promised.selections <= selections <= at_the_end.selections
        assert max(ids.values()) == 1
        await _counted_once(mesh, len(ids), selections)
        await _ledger_between(mesh, promised, at_the_end)
        positions = [int(event["position"]) for event in await mesh.events()]
        assert positions == list(range(1, len(positions) + 1))
    finally:
        mesh.close()


def _is_ours(event: dict[str, Any]) -> bool:
    data = event["data"]
    return USER in (data.get("userId"), data.get("labels", {}).get("user"))


async def _counted_once(mesh: Mesh, metrics: int, selections: int) -> None:
    """Analytics and learning have counted what the log holds, each event once."""
    async with mesh.rest() as client:

        async def counted() -> tuple[int, int, int]:
            values = (await client.get("/api/v1/analytics/metrics/kill_test")).raise_for_status().json()
            overview = (await client.get("/api/v1/analytics/overview")).raise_for_status().json()
            learned = (await client.get("/api/v1/training/overview", params={"userId": USER})).raise_for_status().json()
            heard = sum(int(each["count"]) for each in overview["events"] if each["type"] == "provider.selected")
            return int(values["total"]["count"]), heard, sum(int(each["selections"]) for each in learned["providersByDomain"])

        await eventually(counted, lambda found: found == (metrics, selections, selections), 60)


async def _ledger_between(mesh: Mesh, promised: Promises, at_the_end: Promises) -> None:
    """The ledger holds what was promised before, and nothing that was not asked for in the end."""
    async with mesh.rest() as client:
        params = {"userId": USER, "groupBy": "model"}
        total = (await client.get("/api/v1/budget/report", params=params)).raise_for_status().json()["total"]
    assert promised.usages <= int(total["calls"]) <= at_the_end.usages
    assert promised.tokens <= int(total["inputTokens"]) <= at_the_end.tokens
