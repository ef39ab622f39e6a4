"""Unbroken work: it ends although its caller is gone, and its errors reach whoever still waits."""

import asyncio

import pytest

from mesh.unbroken import Unbroken


async def test_work_goes_on_without_its_caller() -> None:
    """The caller is cancelled in the middle; closing waits for the work."""
    unbroken, gate, done = Unbroken(), asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append(1)

    caller = asyncio.create_task(unbroken.run(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await unbroken.close()
    assert done == [1]


async def test_results_and_errors_come_back() -> None:
    """As if the work had been awaited."""
    unbroken = Unbroken()

    async def good() -> int:
        return 7

    async def bad() -> int:
        raise ValueError("because")

    assert await unbroken.run(good()) == 7
    with pytest.raises(ValueError, match="because"):
        await unbroken.run(bad())
    await unbroken.close()
