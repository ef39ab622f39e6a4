"""What tests of the requests to publish share: the limits, what ends a stream, and what a caller heard."""

from typing import Any

import grpc

from mesh.errors import Refusal
from mesh.publish_requests import Waiting

EVENTS, BYTES, IN_FLIGHT = 500, 96 * 1024, 16


def error_of(code: grpc.StatusCode, details: str = "as the test says") -> grpc.aio.AioRpcError:
    """What ends a stream."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


def told(caller: Waiting) -> Any:
    """What a caller heard: positions, a refusal's reason, "cancelled", or None so far."""
    if not caller.done.done():
        return None
    if caller.done.cancelled():
        return "cancelled"
    error = caller.done.exception()
    return error.code if isinstance(error, Refusal) else error or caller.done.result()
