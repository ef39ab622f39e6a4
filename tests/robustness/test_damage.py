"""A flipped byte in every page and a truncation at every page: what is served is what was written, or the damage is named.

The file alone is judged for every page; servers are started on some (all of them in the long form).
"""

import asyncio
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc
import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb

from bus import maintenance
from mesh.follow import BusClient
from mesh.reconnect import refusal_of
from tests.integration.bus_bench import PATIENCE, Puller, event
from tests.robustness.bus_process import BusProcess, bus_and_client
from tests.robustness.chance import dice
from tests.robustness.faults.damage import Damage, flip, flipped, truncated
from tests.robustness.on_disk import dead_on_disk, log_on_disk, move_into_database, put
from tests.robustness.record import Stored
from tests.robustness.traffic import make_subscription, read_log, until

Files = Mapping[str, bytes]
BATCHES = 24
SERVED = 3
FLIPS = 4


async def small_log(folder: Path, *, in_wal: bool) -> Files:
    """The files of a small log with a subscription and a dead letter; all of it in the database, or in the write-ahead log."""
    async with bus_and_client(folder, {"TOOLOO_BUS_CHECKPOINT_INTERVAL": "1h", "TOOLOO_BUS_BALLAST_BYTES": "0"}) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]})
        for number in range(BATCHES):
            await client.publish([event(number * 10 + n, subject=f"s/{n}", note="n" * 200) for n in range(10)], timeout=None)
        puller = await Puller(client.stub).open()
        await puller.take(20)
        await puller.say(ack=list(range(2, 21)), nacks=[pb.Nack(position=1, park=True, error="parked")])

        async def parked() -> bool:
            return bool((await client.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="reader"))).dead_letters)

        await until(parked)
        if in_wal:
            await bus.kill()
        else:
            assert await bus.stop() == 0
            move_into_database(bus.log_file)
        files = (bus.log_file, bus.log_file.with_name("log.db-wal"))
        return {path.name: path.read_bytes() for path in files if path.exists()}


def judge(file: Path, log: list[Stored], dead: list[tuple[int, bytes]], *, prefix: bool) -> str | None:
    """What is wrong with how damage shows in a file; None when it is named, or when nothing of what was written changed."""
    if maintenance.verify(file):
        return None
    found = log_on_disk(file)
    if found != (log[: len(found)] if prefix else log):
        return f"verify finds nothing, yet the log holds {len(found)} events that are not those that were written"
    if any(letter not in dead for letter in dead_on_disk(file)):
        return "verify finds nothing, yet a dead letter is not what was published"
    return None


def damages(content: bytes, chance: random.Random) -> Iterable[Damage]:
    """Several flips of every page, and every truncation."""
    for _ in range(FLIPS):
        yield from flipped(content, chance)
    yield from truncated(content, chance)


async def test_damage_anywhere_in_the_file_is_named_or_harmless(tmp_path: Path) -> None:
    """The damage is named by verify, or the log reads exactly as it was written."""
    chance = dice("damage")
    files = await small_log(tmp_path / "var", in_wal=False)
    log, dead = log_on_disk(tmp_path / "var" / "bus" / "log.db"), dead_on_disk(tmp_path / "var" / "bus" / "log.db")
    assert set(files) == {"log.db"}
    wrong = []
    for damage in damages(files["log.db"], chance):
        put(tmp_path / "damaged", {"log.db": damage.content})
        if found := judge(tmp_path / "damaged" / "log.db", log, dead, prefix=False):
            wrong.append(f"{damage.what}: {found}")
    assert wrong == []


async def test_damage_of_the_schema_is_named_even_when_it_is_no_text_any_more(tmp_path: Path) -> None:
    """SQLite quotes the schema that it cannot read; bytes that are no UTF-8 among it end nothing."""
    content = (await small_log(tmp_path / "var", in_wal=False))["log.db"]
    wrong = []
    for words in re.finditer(rb"CREATE TABLE \w+|PRIMARY KEY", content):
        put(tmp_path / "damaged", {"log.db": flip(content, words.end(), 0xFF).content})
        if not maintenance.verify(tmp_path / "damaged" / "log.db"):
            wrong.append(f"{words.group().decode()} at {words.start()}")
    assert wrong == []


async def test_damage_of_an_event_is_named_wherever_a_copy_of_it_stands(tmp_path: Path) -> None:
    """The log's record and what a dead letter keeps for itself: a byte that flips in either is found."""
    content = (await small_log(tmp_path / "var", in_wal=False))["log.db"]
    file = tmp_path / "var" / "bus" / "log.db"
    log, dead = log_on_disk(file), dead_on_disk(file)
    copies = [found.start() for found in re.finditer(log[0].id.encode(), content)]
    assert len(copies) == 2
    wrong = []
    for at in copies:
        damage = flip(content, at, 1)
        put(tmp_path / "damaged", {"log.db": damage.content})
        if found := judge(tmp_path / "damaged" / "log.db", log, dead, prefix=False):
            wrong.append(f"{damage.what}: {found}")
    assert wrong == []


async def test_damage_in_the_write_ahead_log_ends_the_log_there_and_never_changes_it(tmp_path: Path) -> None:
    """What stands before the damage is served as it was written. What stands after it cannot be told from a torn write."""
    chance = dice("damage of the write-ahead log")
    files = await small_log(tmp_path / "var", in_wal=True)
    put(tmp_path / "whole", dict(files))
    log, dead = log_on_disk(tmp_path / "whole" / "log.db"), dead_on_disk(tmp_path / "whole" / "log.db")
    assert len(log) == BATCHES * 10
    wrong = []
    for damage in damages(files["log.db-wal"], chance):
        put(tmp_path / "damaged", {**files, "log.db-wal": damage.content})
        if found := judge(tmp_path / "damaged" / "log.db", log, dead, prefix=True):
            wrong.append(f"{damage.what}: {found}")
    assert wrong == []


async def ask(client: BusClient, bus: BusProcess, log: list[Stored]) -> str | None:
    """Reads, publishes and pulls on a damaged file; what is wrong with the answers, or None."""

    async def read() -> str | None:
        found = await read_log(client)
        return None if found == log else f"{len(found)} events that are not those that were written"

    async def publish() -> None:
        await client.publish([event()], timeout=PATIENCE)

    for question in (read, publish, lambda: pull(client)):
        alive = asyncio.create_task(bus.running.wait())
        answer = asyncio.create_task(question())
        await asyncio.wait((answer, alive), timeout=2 * PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        ended, answered = alive.done(), answer.done()
        alive.cancel()
        answer.cancel()
        outcome, _ = await asyncio.gather(answer, alive, return_exceptions=True)
        if ended:
            # damage that the process cannot live with: it says so and ends
            return None if bus.running.returncode else "the bus ended as if nothing were wrong"
        if not answered:
            return "no answer"
        if isinstance(outcome, str) or (isinstance(outcome, BaseException) and not is_named(outcome)):
            return repr(outcome)
    return None


async def pull(client: BusClient) -> None:
    """Takes a few events as a member."""
    puller = Puller(client.stub)
    await puller.open()
    await puller.take(5)
    puller.call.cancel()


def is_named(error: BaseException) -> bool:
    """Whether a refusal says that stored data is damaged; NOT_FOUND where the damage took the subscription itself."""
    if isinstance(error, grpc.aio.AioRpcError):
        error = refusal_of(error)
    return getattr(error, "code", None) in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.NOT_FOUND)


async def serve(folder: Path, log: list[Stored]) -> str | None:
    """Starts a bus on a damaged file and asks it."""
    async with bus_and_client(folder) as (bus, client):
        return await ask(client, bus, log)


async def judge_servers(folder: Path, files: Files, log: list[Stored], chosen: Iterable[Damage]) -> list[str]:
    """Servers on damaged files, one after another; what is wrong with any."""
    wrong = []
    for number, damage in enumerate(chosen):
        here = folder / f"damaged-{number}"
        put(here / "bus", {**files, "log.db": damage.content})
        if found := await serve(here, log):
            wrong.append(f"{damage.what}: {found}")
    return wrong


async def test_a_server_on_a_damaged_file_serves_what_was_written_or_names_the_damage(tmp_path: Path) -> None:
    """Some pages: events as they were, DATA_LOSS, or a process that ends and says why; no other bytes, no silence."""
    chance = dice("damage, some servers")
    files = await small_log(tmp_path / "var", in_wal=False)
    log = log_on_disk(tmp_path / "var" / "bus" / "log.db")
    chosen = chance.sample(list(damages(files["log.db"], chance)), SERVED)
    assert await judge_servers(tmp_path, files, log, chosen) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_servers_on_every_damaged_page_serve_what_was_written_or_name_the_damage(tmp_path: Path) -> None:
    """Every page flipped once, and every truncation."""
    chance = dice("damage, all servers")
    files = await small_log(tmp_path / "var", in_wal=False)
    log = log_on_disk(tmp_path / "var" / "bus" / "log.db")
    every = [*flipped(files["log.db"], chance), *truncated(files["log.db"], chance)]
    assert await judge_servers(tmp_path, files, log, every) == []
