"""Unbroken work: it ends although its caller is gone, and its errors reach whoever still waits."""

import asyncio

import pytest

from mesh.unbroken import Unbroken, unbroken


async def test_work_goes_on_without_its_caller() -> None:
    """The caller is cancelled in the middle; closing waits for the work."""
    keeper, gate, done = Unbroken(), asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append(1)

    caller = asyncio.create_task(keeper.run(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await keeper.close()
    assert done == [1]


async def test_results_and_errors_come_back() -> None:
    """As if the work had been awaited."""
    keeper = Unbroken()

    async def good() -> int:
        return 7

    async def bad() -> int:
        raise ValueError("because")

    assert await keeper.run(good()) == 7
    with pytest.raises(ValueError, match="because"):
        await keeper.run(bad())
    await keeper.close()


async def test_a_method_goes_on_without_its_caller() -> None:
    """Which is cancelled in the middle of it."""
    gate, done = asyncio.Event(), asyncio.Event()

    class Store:
        """Something that writes."""

        @unbroken
        async def write(self, value: int) -> int:
            """Takes a while."""
            await gate.wait()
            done.set()
            return value

    store = Store()
    caller = asyncio.create_task(store.write(1))
    await asyncio.sleep(0)
    caller.cancel()
    gate.set()
    await done.wait()
    assert await store.write(2) == 2
