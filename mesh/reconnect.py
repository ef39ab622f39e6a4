"""What a client does when a call fails: which failures trying again can help, and how long to wait in between."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf import symbol_database
from google.rpc import error_details_pb2
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors

_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Backoff:
    """Waits that double from `first` to `longest` seconds, each shortened at random so that clients do not come back together."""

    def __init__(self, first: float = 0.05, longest: float = 2.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def wait(self) -> float:
        """Seconds to wait before the next attempt."""
        chosen = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        self._next = min(self._next * 2, self._longest)
        return chosen

    def reset(self) -> None:
        """Begins anew after a success."""
        self._next = self._first


def client_closed() -> errors.Refusal:
    """The client was closed while somebody worked with it."""
    return errors.unavailable("bus", detail="the client was closed")


@contextmanager
def until_closed() -> Iterator[None]:
    """Says that the client was closed, where grpc.aio shows it as a misuse, or as if the task that waits had been cancelled."""
    try:
        yield
    except grpc.aio.UsageError:
        raise client_closed() from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise client_closed() from None


def is_final(error: grpc.aio.AioRpcError) -> bool:
    """Whether trying again cannot help. A server that dies shows as UNAVAILABLE, CANCELLED, UNKNOWN or INTERNAL: not final."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.code() in _FINAL
    details = refusal_of(error).details
    if len(details) > 1:
        return not any(isinstance(detail, error_details_pb2.RetryInfo) for detail in details)
    # gRPC's own: a message that is too large stays too large, a server with too many calls does not
    return _is_too_large(error)


def refusal_of(error: grpc.aio.AioRpcError) -> errors.Refusal:
    """The refusal that the server sent, with its details; one made from the code when it sent none."""
    if _is_too_large(error):
        reason = ErrorReason.ERROR_REASON_TOO_LARGE
        return errors.refused(grpc.StatusCode.INVALID_ARGUMENT, reason, f"send less at a time: {error.details()}")
    status = errors.from_rpc_error(error)
    details = []
    for packed in status.details:
        known = symbol_database.Default().GetSymbol(packed.TypeName())
        details.append(known.FromString(packed.value))
    if not details:
        details = [error_details_pb2.ErrorInfo(reason=error.code().name, domain=errors.DOMAIN)]
    return errors.Refusal(error.code(), status.message, tuple(details))


def _is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC itself refused a message for its size; it has no code of its own for that."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or "")
