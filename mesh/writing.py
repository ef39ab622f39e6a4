"""Writing on a stream that may have ended: what grpc.aio raises then says nothing of why."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc


async def written(call: Any, message: Any) -> bool:
    """Writes a message; False when the call has ended. Only who is cancelled himself gets CancelledError.

    A write that waits while somebody else cancels the call ends with CancelledError too, though its task was not cancelled.
    """
    try:
        await call.write(message)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        return False
    return True
