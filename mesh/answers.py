"""Answers kept by request_id (AIP-155): the same id again gets the first answer and changes nothing."""

import hashlib
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import call, errors
from mesh.db import Transaction

R = TypeVar("R", bound=Message)


def request_id_of(request: Message) -> str:
    """The request's own request_id, else the call's Idempotency-Key header; "" when there is neither."""
    given: str = getattr(request, "request_id", "")
    if given:
        # as the header is read below: RFC 9562 has UUIDs read without regard to case
        return given.lower()
    key = call.current.get().idempotency_key
    if key and "request_id" in request.DESCRIPTOR.fields_by_name:
        try:
            return str(UUID(key))
        except ValueError:
            raise errors.invalid("Idempotency-Key", "must be a UUID, e.g. one made by uuidgen") from None
    return ""


def _hash(request: Message) -> bytes:
    stripped = type(request)()
    stripped.CopyFrom(request)
    stripped.ClearField("request_id")
    return hashlib.sha256(stripped.SerializeToString(deterministic=True)).digest()


async def find(tx: Transaction, request: Message, response_type: type[R]) -> R | None:
    """The answer that was given before; ALREADY_EXISTS when the id came with another request."""
    request_id = request_id_of(request)
    if not request_id:
        return None
    row = await tx.fetch_one(
        "SELECT request_hash, response FROM request_answers WHERE method = :method AND request_id = :request_id",
        {"method": request.DESCRIPTOR.full_name, "request_id": request_id},
    )
    if row is None:
        return None
    if row["request_hash"] != _hash(request):
        raise errors.already_exists(
            "request_id",
            request_id,
            "it was used for another request; use a new id",
            reason=ErrorReason.ERROR_REASON_REQUEST_ID_REUSED,
        )
    return response_type.FromString(row["response"])


async def keep(tx: Transaction, request: Message, response: Message, now_us: int) -> None:
    """Keeps an answer in the transaction of its effect."""
    request_id = request_id_of(request)
    if request_id:
        await tx.execute(
            "INSERT INTO request_answers (method, request_id, request_hash, response, created_us)"
            " VALUES (:method, :request_id, :request_hash, :response, :now_us)",
            {
                "method": request.DESCRIPTOR.full_name,
                "request_id": request_id,
                "request_hash": _hash(request),
                "response": response.SerializeToString(),
                "now_us": now_us,
            },
        )


async def forget(tx: Transaction, before_us: int) -> int:
    """Drops answers older than this; gives their number."""
    return await tx.execute("DELETE FROM request_answers WHERE created_us < :before_us", {"before_us": before_us})
