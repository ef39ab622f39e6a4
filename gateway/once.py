"""Answers of the system calls by request_id: the same id again gets the first answer.

They are kept in memory: what these calls change are the processes of this very supervisor, and both end together.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.answers import request_id_of

R = TypeVar("R", bound=Message)


class Once:
    """Remembers the newest `limit` answers, and the calls that still run."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._calls: OrderedDict[tuple[str, str], tuple[bytes, asyncio.Future[Message]]] = OrderedDict()

    async def answer(self, request: Message, response_type: type[R], effect: Callable[[], Awaitable[R]]) -> R:
        """Runs `effect` unless a call with this id ran or runs; ALREADY_EXISTS when the id came with another request."""
        request_id = request_id_of(request)
        if not request_id:
            return await effect()
        key, content = (request.DESCRIPTOR.full_name, request_id), _content(request)
        if key in self._calls:
            return await self._repeat(key, content, response_type)
        return await self._first(key, content, effect)

    async def _repeat(self, key: tuple[str, str], content: bytes, response_type: type[R]) -> R:
        known, running = self._calls[key]
        if known != content:
            detail = "it was used for another request; use a new id"
            raise errors.already_exists("request_id", key[1], detail, reason=ErrorReason.ERROR_REASON_REQUEST_ID_REUSED)
        return response_type.FromString((await asyncio.shield(running)).SerializeToString())

    async def _first(self, key: tuple[str, str], content: bytes, effect: Callable[[], Awaitable[R]]) -> R:
        # a task of its own: a caller that goes away must not leave a service half stopped
        task = asyncio.ensure_future(effect())
        self._calls[key] = (content, task)  # type: ignore[assignment] # a future of R is one of Message to those who only read it
        if len(self._calls) > self._limit:
            self._calls.popitem(last=False)
        try:
            return await asyncio.shield(task)
        except errors.Refusal:
            # nothing was changed, so the same id may try again
            self._calls.pop(key, None)
            raise


def _content(request: Message) -> bytes:
    stripped = type(request)()
    stripped.CopyFrom(request)
    stripped.ClearField("request_id")
    return stripped.SerializeToString(deterministic=True)
