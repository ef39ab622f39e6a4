"""How the bus says no: the log's own exceptions as refusals of the contract."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import grpc
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from bus.batches import CorruptBatch, VersionConflict
from bus.filters import ExpressionError
from bus.settings import BusSettings
from bus.storage import BeforeRetention, Closed, DiskFull, NoSubscription, PastTheEnd, QueueFull
from mesh import errors

_LATER = timedelta(seconds=1)
_SOON = timedelta(milliseconds=200)
# subjects told of in a conflict of versions: gRPC's clients take 8 KiB of headers, in which all is encoded
_CONFLICT_BYTES = 2048


def not_found(name: str) -> errors.Refusal:
    """There is no subscription of this name."""
    return errors.not_found("subscription", name)


def too_many(setting: str, what: str, limit: int) -> errors.Refusal:
    """A limit of the bus is reached."""
    return errors.exhausted(
        setting, f"there are {limit} {what} already; raise {setting} or end one", retry_after=timedelta(seconds=1)
    )


def draining() -> errors.Refusal:
    """The bus goes away in good order: whoever comes back finds another one, or this one again."""
    return errors.unavailable("bus", reason=ErrorReason.ERROR_REASON_NOT_READY, detail="it drains")


@contextmanager
def refusing() -> Iterator[None]:
    """Turns the log's exceptions into refusals."""
    try:
        yield
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is error:
            raise
        raise refusal from error


def refusal_of(error: Exception) -> Exception:
    """The refusal for an exception of the log; any other exception as it is."""
    if isinstance(error, VersionConflict):
        return _conflict(error)
    if isinstance(error, BeforeRetention):
        where = "after the newest event" if isinstance(error, PastTheEnd) else "before what is kept"
        return errors.out_of_range(f"that starts {where}: {error}", first=str(error.first), head=str(error.head))
    if isinstance(error, DiskFull):
        reason = ErrorReason.ERROR_REASON_DISK_FULL
        return errors.exhausted("disk", "the disk that holds the log is full; make room", reason=reason, retry_after=_LATER)
    if isinstance(error, QueueFull):
        setting = BusSettings.env_name("write_queue")
        return errors.exhausted(setting, "too many writes wait for the disk; try again soon", retry_after=_SOON)
    if isinstance(error, Closed):
        return errors.unavailable("bus", reason=ErrorReason.ERROR_REASON_NOT_READY)
    return _refusal_of_content(error)


def _conflict(error: VersionConflict) -> errors.Refusal:
    """What stands, of as many subjects as the headers of an answer have room for, one at least."""
    told: dict[str, str] = {}
    room = _CONFLICT_BYTES
    for subject, position in error.standing.items():
        room -= len(subject.encode())
        if told and room < 0:
            break
        told[subject] = str(position)
    return errors.aborted(str(error), **told)


def _refusal_of_content(error: Exception) -> Exception:
    """The refusal for something stored that cannot be used, or is there no more."""
    if isinstance(error, NoSubscription):
        return not_found(error.name)
    if isinstance(error, ExpressionError):
        # it compiled when it was stored; another release of the library may think otherwise
        return errors.invalid("filter.cel", str(error))
    if isinstance(error, CorruptBatch):
        return errors.refused(
            grpc.StatusCode.DATA_LOSS, ErrorReason.ERROR_REASON_CORRUPT_RECORD, str(error), position=str(error.position)
        )
    if isinstance(error, sqlite3.DatabaseError):
        return errors.refused(grpc.StatusCode.DATA_LOSS, ErrorReason.ERROR_REASON_CORRUPT_RECORD, "the log's file cannot be read")
    return error
