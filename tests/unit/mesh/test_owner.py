"""Who holds leases: what a killed process held is given back by the next one, what a living one holds is not."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mesh import owner
from mesh.db import Database, Transaction
from mesh.host import Host
from mesh.ids import new_id
from mesh.owner import Owner
from mesh.settings import MeshSettings

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys
from pathlib import Path
from mesh.owner import Owner

held = Owner("killed", Path(sys.argv[1]))
held._take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Callable[[], Any]]:
    """Begins another owner on the same store; gives it and whose leases it gave back."""
    database = await Database.open(tmp_path / "store.db", [], MeshSettings())
    host = cast(Host, SimpleNamespace(data_folder=tmp_path, ids=new_id, db=database))

    async def made() -> tuple[Owner, list[str]]:
        given_back: list[str] = []

        async def give_back(tx: Transaction, owner: str) -> None:
            given_back.append(owner)

        return await Owner.begin(host, give_back), given_back

    yield made
    await database.close()


async def test_what_a_killed_process_held_is_given_back_once(tmp_path: Path, begin: Callable[[], Any]) -> None:
    """While it lives nobody does so; then the next one that begins."""
    command = (sys.executable, "-c", HOLDER, str(tmp_path / owner.FOLDER))
    holder = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    assert holder.stdout
    assert await holder.stdout.readline() == b"held\n"
    _, given_back = await begin()
    assert given_back == []
    holder.kill()
    await holder.communicate()
    _, given_back = await begin()
    assert given_back == ["killed"]
    _, given_back = await begin()
    assert given_back == []


async def test_who_looks_sees_it_too_and_gives_back_in_parts(tmp_path: Path, begin: Callable[[], Any]) -> None:
    """As often as there may be more; not what the one who looks holds itself, nor what another one is about to lock."""
    one, _ = await begin()
    (one._file.parent / "new-another.lock").touch()
    command = (sys.executable, "-c", HOLDER, str(one._file.parent))
    holder = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    assert holder.stdout
    assert await holder.stdout.readline() == b"held\n"
    database = await Database.open(tmp_path / "store.db", [], MeshSettings())
    host, asked = cast(Host, SimpleNamespace(db=database)), list[str]()

    async def in_parts(tx: Transaction, owner: str) -> bool:
        asked.append(owner)
        return len(asked) < 3

    await one.look(host, in_parts)
    assert asked == []
    holder.kill()
    await holder.communicate()
    await one.look(host, in_parts)
    assert asked == ["killed"] * 3
    await one.look(host, in_parts)
    assert len(asked) == 3
    await database.close()
    await one.close()


async def test_who_ends_in_order_leaves_nothing(tmp_path: Path, begin: Callable[[], Any]) -> None:
    """Its file goes with it; closing twice is no harm."""
    one, _ = await begin()
    other, _ = await begin()
    assert len(list((tmp_path / owner.FOLDER).iterdir())) == 2
    await one.close()
    await one.close()
    assert [path.stem for path in (tmp_path / owner.FOLDER).iterdir()] == [other.id]
    await other.close()


async def test_a_store_that_takes_nothing_leaves_it_for_the_next_one(tmp_path: Path, begin: Callable[[], Any]) -> None:
    """The file of the killed one stays until its leases are given back."""
    left = tmp_path / owner.FOLDER / "killed.lock"
    left.parent.mkdir()
    left.touch()
    database = await Database.open(tmp_path / "store.db", [], MeshSettings())

    async def refuse(tx: Transaction, owner: str) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await Owner.begin(cast(Host, SimpleNamespace(data_folder=tmp_path, ids=new_id, db=database)), refuse)
    await database.close()
    assert (await begin())[1] == ["killed"]


async def test_a_folder_that_cannot_be_made_keeps_nobody_from_serving(tmp_path: Path, begin: Callable[[], Any]) -> None:
    """Leases of killed processes then end by their time."""
    (tmp_path / owner.FOLDER).write_text("in the way")
    held, given_back = await begin()
    assert (bool(held.id), given_back) == (True, [])
    await held.close()
