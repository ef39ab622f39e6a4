"""Waiting for something to be so, where nothing tells."""

import asyncio
from collections.abc import Callable

PATIENCE = 60.0


async def until(condition: Callable[[], object]) -> None:
    """Lets everything else go on until the condition holds; TimeoutError when it does not in a patient while."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Lets everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)
