"""What is known of availability stays over restarts, among replicas, through kills and upgrades, and is forgotten in the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from mesh import testing
from mesh.clock import ManualClock
from mesh.db import Database, Transaction
from mesh.ids import new_id
from services.provider import availability_store, selection_store, store
from services.provider.__main__ import build
from services.provider.availability import Priority, Resource
from services.provider.failure import FailureKind
from services.provider.fallback import Candidate
from tests.integration.availability_bench import (
    AVAILABLE,
    BIG,
    DEGRADED,
    GIFT,
    NORMAL,
    OUT,
    SECOND,
    START,
    TRIAL,
    UNAVAILABLE,
    House,
    environment,
    failed,
    house,
    succeeded,
)
from tests.support.mesh import ROOT

__all__ = ["house"]


async def test_state_survives_a_restart_and_recovery_is_told_after_it(house: House) -> None:
    """What was out is out; the end that passed while it was down is told by the first sweep, once."""
    for _ in range(5):
        await house.note(failed())
    await house.note(failed(GIFT, FailureKind.RATE_LIMITED, "k3", retry_after=60 * SECOND))
    before = await house.seen()
    await house.bench.restart()
    assert replace(await house.seen(), in_flight={}) == replace(before, in_flight={})
    told = len(await house.health())
    await house.bench.stop()
    house.clock.advance(timedelta(minutes=2))
    await house.bench.start()
    await house.sweep()
    await house.sweep()
    assert sorted(subject for subject, _ in (await house.health())[told:]) == [
        "providers/acme/models/big", "providers/brim", "providers/brim/models/gift/keys/k3",
    ]  # fmt: skip


async def test_replicas_see_each_others_news_at_once_and_tell_each_change_once(tmp_path: Path) -> None:
    """Two replicas on one file: five failures over both open it for both; both sweep, one tells."""
    settings, clock = environment(tmp_path), ManualClock(START)
    async with AsyncExitStack() as stack:
        one, two = [
            House(
                await stack.enter_async_context(
                    testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings)
                ),
                clock,
            )
            for _ in range(2)
        ]
        for replica in (one, two, one, two, one):
            assert (await replica.select())[0] == "big"
            await replica.note(failed())
        assert await one.select() == await two.select() == ("gift", ["big"])
        clock.advance(30 * SECOND)
        await asyncio.gather(one.sweep(), two.sweep(), one.sweep(), two.sweep())
        candidates = (Candidate(BIG, ("k1",)), Candidate(GIFT, ("k3",)))
        entered = await asyncio.gather(*(replica.enter(new_id(), *candidates) for replica in (one, two) * 5))
        assert sum(found[0][0] == "big" for found in entered) == 1
        await two.note(succeeded())
        await asyncio.gather(one.sweep(), two.sweep())
        model = "providers/acme/models/big"
        assert [priority for _, priority, _ in await one.priorities()] == [OUT, TRIAL, NORMAL]
        assert [state for subject, state in await one.health() if subject == model] == [UNAVAILABLE, DEGRADED, AVAILABLE]


KILLED = """
import asyncio, os, signal, sys
from itertools import pairwise
from pathlib import Path
from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build
from tests.integration.availability_bench import START, House, environment, failed

async def main(folder: Path, writes: int, when: str) -> None:
    clock = ManualClock(START)
    async with testing.running("provider", build, folder / "var", clock=clock, settings=environment(folder)) as bench:
        house, left = House(bench, clock), writes
        write = bench.host.db.write
        async def deadly(work):
            nonlocal left
            left -= 1
            async def dying(tx):
                result = await work(tx)
                if left == 0 and when == "inside":
                    os.kill(os.getpid(), signal.SIGKILL)
                return result
            result = await write(dying)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        bench.host.db.write = deadly
        for _ in range(10):
            await house.note(failed())

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
"""


@pytest.mark.parametrize(("writes", "when", "noted"), [(4, "after", 4), (5, "inside", 4), (5, "after", 5)])
async def test_a_kill_leaves_what_was_noted_with_its_events_or_neither(tmp_path: Path, writes: int, when: str, noted: int) -> None:
    """Killed (-9) after the note that opens a breaker: it is open and that was told; inside it: neither; the next one opens it."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'build' / 'api'}"}
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), str(writes), when, cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said.decode()
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=environment(tmp_path)) as bench:
        house = House(bench, clock)
        assert len(await house.priorities()) == (1 if noted == 5 else 0)
        assert (await house.select())[0] == ("gift" if noted == 5 else "big")
        await house.note(failed())
        assert len(await house.priorities()) == 1
        assert (await house.select())[0] == "gift"


async def test_calls_on_their_way_are_counted_until_they_end_or_are_lost(house: House) -> None:
    """For the least busy model: settled calls count no more, lost ones until their lease ends."""
    for name in ("one", "two", "lost"):
        await house.enter(name, Candidate(BIG, ("k1",)))
    await house.note(succeeded(), call_id="one")
    assert (await house.seen()).in_flight == {BIG: 2}
    await house.note(call_id="two")
    assert (await house.seen()).in_flight == {BIG: 1}
    await house.sweep(301)
    assert (await house.seen()).in_flight == {}


async def test_what_is_remembered_of_models_and_keys_is_what_is_stored(house: House) -> None:
    """A transaction that writes has it from memory, one that reads from the tables; forgotten failures are forgotten in both."""
    grain = house.known.grain

    async def seen(tx: Transaction) -> list[object]:
        models = [await availability_store.model_seen(tx, target, grain) for target in (BIG, GIFT)]
        keys = [await availability_store.key_seen(tx, *key, grain) for key in ((BIG.provider_id, "k1"), (GIFT.provider_id, "k3"))]
        return [await store.model_healths(tx), await store.model_rows(tx) != {}, models, keys]

    async def same() -> list[object]:
        remembered = await house.bench.host.db.write(seen)
        assert remembered == await house.bench.host.db.read(seen)
        return remembered

    found = [await same()]
    for outcome in (succeeded(), failed(), failed(GIFT, FailureKind.SERVER_ERROR, "k3"), succeeded()):
        await house.note(outcome)
        house.clock.advance(SECOND)
        found.append(await same())
    await house.note(failed())
    await house.bench.host.db.write(lambda tx: availability_store.forget_failures(tx, BIG.provider_id, ""))
    found.append(await same())
    assert all(before != after for before, after in pairwise(found))


async def test_what_is_over_is_forgotten(house: House) -> None:
    """The table holds only what makes a difference."""
    for _ in range(5):
        await house.note(failed())
    await house.note(failed(GIFT, FailureKind.RATE_LIMITED, "k3"))
    await house.sweep(31)
    await house.note(succeeded())
    await house.sweep(3600)
    await house.sweep(3600)
    assert (await house.seen()).conditions == {}


async def test_an_older_database_is_carried_over(tmp_path: Path) -> None:
    """What was seen of models and providers before this version counts on."""
    real, old = ROOT / "services" / "provider" / "schema", tmp_path / "schema"
    old.mkdir()
    for path in sorted(real.glob("*.sql")):
        if path.name < "0005":
            (old / path.name).write_text(path.read_text())
    file = tmp_path / "var" / "provider" / "provider.db"
    database = await Database.open(file, [("provider", old)])

    async def fill(tx: Transaction) -> None:
        await tx.execute(
            "INSERT INTO model_health (provider_id, model, uptime, tokens_per_second, outcomes) VALUES ('acme', 'big', 0.5, 7, 9)"
        )
        await tx.execute("INSERT INTO provider_health (provider_id, failures_in_row, reachable) VALUES ('acme', 3, 0)")

    await database.write(fill)
    await database.close()
    database = await Database.open(file, [("provider", real)])
    models, providers = await database.read(store.model_healths), await database.read(store.provider_healths)
    await database.close()
    seen = models["acme", "big"]
    assert (seen.uptime, seen.tokens_per_second, seen.outcomes) == (0.5, 7, 9)
    assert (providers["acme"][0].failures_in_row, providers["acme"][0].told) == (3, None)


async def test_explanations_of_before_are_there_and_forgotten_in_their_order(tmp_path: Path) -> None:
    """Their table was made anew: the newest stay, counted on from where they were."""
    real, old = ROOT / "services" / "provider" / "schema", tmp_path / "schema"
    old.mkdir()
    for path in sorted(real.glob("*.sql")):
        if path.name < "0010":
            (old / path.name).write_text(path.read_text())
    file = tmp_path / "var" / "provider" / "provider.db"
    database = await Database.open(file, [("provider", old)])
    insert = "INSERT INTO selection_explanation (selection_id, number, explanation) VALUES (:id, :number, :told)"
    # the ids are in another order than the numbers
    rows = [{"id": name, "number": number, "told": name.encode()} for number, name in enumerate("dacb", 7)]
    await database.write(lambda tx: tx.execute_many(insert, rows))
    await database.close()
    database = await Database.open(file, [("provider", real)])

    async def kept() -> list[str]:
        found = await database.read(lambda tx: tx.fetch_all("SELECT selection_id FROM selection_explanation ORDER BY number"))
        return [row["selection_id"] for row in found]

    assert await kept() == ["d", "a", "c", "b"]
    await database.write(lambda tx: selection_store.put_explanation(tx, "0", b"new", 3))
    assert await kept() == ["c", "b", "0"]
    assert await database.read(lambda tx: selection_store.get_explanation(tx, "b")) == b"b"
    await database.close()


def test_a_key_of_a_model_is_part_of_both() -> None:
    """So a reset of either reaches it."""
    part = Resource("acme", "big", "k1")
    assert all(part.within(whole) for whole in (Resource("acme"), Resource("acme", "big"), Resource("acme", "", "k1"), part))
    assert not any(part.within(whole) for whole in (Resource("brim"), Resource("acme", "small"), Resource("acme", "", "k2")))


async def test_nothing_of_a_clock_that_was_ahead_comes_back(house: House) -> None:
    """Put right it is over, and over it stays when the clock comes to the time at which it had seemed to be."""
    house.clock.advance(timedelta(hours=1))
    for _ in range(5):
        await house.note(failed())
    await house.note(failed(GIFT, FailureKind.RATE_LIMITED, "k3", retry_after=60 * SECOND))
    seen = await house.seen()
    assert (seen.out(BIG) is not None, seen.key_out(GIFT, "k3") is not None) == (True, True)
    house.clock.advance(-timedelta(hours=1))
    await house.sweep()
    seen = await house.seen()
    assert (seen.out(BIG), seen.key_out(GIFT, "k3")) == (None, None)
    told = len(await house.health())
    await house.sweep(60 * 60)
    seen = await house.seen()
    assert (seen.out(BIG), seen.key_out(GIFT, "k3")) == (None, None)
    assert len(await house.health()) == told


async def test_a_trial_that_failed_while_the_clock_was_ahead(house: House) -> None:
    """The model is on trial again once the clock is put right, and not out for as long as it had been ahead."""
    for _ in range(5):
        await house.note(failed())
    house.clock.advance(timedelta(days=1))
    await house.note(failed())
    house.clock.advance(-timedelta(days=1))
    await house.sweep(1)
    seen = await house.seen()
    assert (seen.out(BIG), seen.priority(Resource(*BIG), ())) == (None, Priority.TRIAL)
