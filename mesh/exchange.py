"""A request on a stream and the answer to it as one operation of gRPC's core.

For grpc.aio each write and each read is an operation of its own. The core tells of the end of each through a thread and a socket,
which is half of what a small request costs; of the end of both together it tells once. The parts for that are grpc.aio's own and
not public: tests/unit/mesh/test_exchange.py sees that the pinned grpcio has them and that they do what they are used for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # grpcio's type stubs know what is public only

_NO_FLAGS = 0


def core_of(call: Any) -> Any:
    """What exchange() needs of a call; None for a call that is not gRPC's, e.g. within the process."""
    return getattr(call, "_cython_call", None)


def exchange(core: Any, request: bytes, answered: Callable[[bytes | None], None]) -> None:
    """Sends a request, and calls `answered` with the next message that comes: None when the stream ends instead.

    Nothing else may be sent or read on the stream meanwhile, and its first message must be sent already.
    """
    answer = cygrpc.ReceiveMessageOperation(_NO_FLAGS)
    operations = (cygrpc.SendMessageOperation(request, _NO_FLAGS), answer)
    # begun and ended by hand and not in a task, for a task begins one turn of the loop later
    running = cygrpc.execute_batch(core, operations, asyncio.get_running_loop())

    def ended(_: object) -> None:
        with suppress(StopIteration, cygrpc.ExecuteBatchError):
            running.send(None)
        answered(answer.message())

    try:
        running.send(None).add_done_callback(ended)
    except cygrpc.ExecuteBatchError:
        answered(None)
