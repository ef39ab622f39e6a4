"""The boundary every call passes, REST and gRPC alike: decode, validate, answer, and turn what went wrong into a Status.

One interceptor instead of a chain, because each link costs a few per cent of a call.
"""

# grpcio's classes are generic in its type stubs only, so annotations must not be evaluated
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from itertools import islice
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import call, errors
from mesh.headers import fitting_message, fitting_status
from mesh.ids import Ids, new_id
from mesh.soundness import unsound_fields

log = logging.getLogger(__name__)
# gRPC allows 8 KiB of trailers by default; the status must leave room for the rest
_MAX_VIOLATIONS = 16
_MAX_TEXT = 200
_MAX_MESSAGE = 1024


class _Undecodable:
    """Stands for a request whose bytes are no message of the request type."""


_UNDECODABLE = _Undecodable()
Handler = Callable[..., Any]


def violations_of(request: Message) -> list[tuple[str, str]]:
    """What the contract's rules (protovalidate) say against a message: (field path, what to do)."""
    if not _has_rules(request.DESCRIPTOR):
        return []
    # a fifth of a second to load, which a start need not wait for
    import protovalidate  # noqa: PLC0415 - see above

    found = protovalidate.collect_violations(request)
    return [(_path(violation.proto.field), violation.proto.message[:_MAX_TEXT]) for violation in found[:_MAX_VIOLATIONS]]


@cache
def _has_rules(descriptor: Descriptor) -> bool:
    """Whether the contract has a rule anywhere in messages of this type: the bytes of a body have none, for example."""
    seen, left = set(), [descriptor]
    while left:
        message = left.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        if any(map(_ruled, (message, *message.fields, *message.oneofs))):
            return True
        left += (field.message_type for field in message.fields if field.message_type is not None)
    return False


def _ruled(part: Any) -> bool:
    return any(option.full_name.startswith("buf.validate.") for option, _ in part.GetOptions().ListFields())


def check(request: Any, method: str) -> None:
    """Refuses by field what is not sound or breaks the contract's rules; for calls that check their requests themselves."""
    if request is _UNDECODABLE:
        raise errors.malformed_body(f"request of {method}")
    # what is unsound comes first: the rules do not expect it
    if violations := _unsound(request) or violations_of(request):
        raise errors.invalid_fields(violations)


def _unsound(request: Message) -> list[tuple[str, str]]:
    return [(path[:_MAX_TEXT], text) for path, text in islice(unsound_fields(request), _MAX_VIOLATIONS)]


def _path(field: Any) -> str:
    """A field path as callers write it, e.g. "dag.nodes[0].call"; "" for a rule of the whole message."""
    parts = []
    for element in field.elements if field else ():
        subscript = element.subscript
        parts.append(element.field_name if subscript is None else f"{element.field_name}[{subscript.value}]")
    return ".".join(parts)[:_MAX_TEXT]


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server."""

    def __init__(self, ids: Ids = new_id, self_validating: frozenset[str] = frozenset()) -> None:
        self._ids = ids
        self._self_validating = self_validating
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        # the calls that a handler is at now
        self._answering: set[asyncio.Task[Any]] = set()
        self._given_up = False

    def give_up(self) -> None:
        """Ends the calls under way by a refusal that says to try again: the process stops, and their time to end is over."""
        self._given_up = True
        for task in self._answering:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Gives the wrapped handler, made once per method."""
        method = handler_call_details.method.lstrip("/")
        known = self._wrapped.get(method)
        if known is None:
            handler = await continuation(handler_call_details)
            if handler is None or not method.startswith("tooloo."):
                return handler
            known = self._wrapped[method] = self._wrap(handler, method)
        return known

    def _wrap(self, handler: Any, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        codec = {
            "request_deserializer": _guarded(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._one(handler.unary_unary, method, self._checked), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._many(handler.unary_stream, method, self._checked), **codec)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(self._one(handler.stream_unary, method, self._checked_stream), **codec)
        return grpc.stream_stream_rpc_method_handler(self._many(handler.stream_stream, method, self._checked_stream), **codec)

    def _one(self, handler: Handler, method: str, checked: Handler) -> Handler:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call.current.set(call.from_metadata(method, context.invocation_metadata() or ()))
            self._answering.add(task := _own_task())
            try:
                return await handler(checked(request, method), context)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - this is where everything unexpected ends
                await self._abort(error, method, context)
            finally:
                self._answering.discard(task)

        return answer

    def _many(self, handler: Handler, method: str, checked: Handler) -> Handler:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            call.current.set(call.from_metadata(method, context.invocation_metadata() or ()))
            self._answering.add(task := _own_task())
            try:
                async for response in handler(checked(request, method), context):
                    # one that waits for its reader is in no handler
                    self._answering.discard(task)
                    yield response
                    self._answering.add(task)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - this is where everything unexpected ends
                await self._abort(error, method, context)
            finally:
                self._answering.discard(task)

        return answer

    def _checked(self, request: Any, method: str) -> Any:
        """The request when it is valid."""
        if method not in self._self_validating:
            check(request, method)
        return request

    def _checked_stream(self, requests: AsyncIterator[Any], method: str) -> AsyncIterator[Any]:
        """A stream of requests, which are checked one by one as they are read."""
        return requests if method in self._self_validating else _each_checked(requests, method)

    async def _abort(
        self, error: Exception | asyncio.CancelledError, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            if not self._given_up or context.cancelled():
                raise error
            error = errors.stopping()
        if isinstance(error, grpc.aio.AbortError):
            raise error
        refusal = self._refusal(error, method)
        status = fitting_status(refusal.status())
        await context.abort(
            refusal.code,
            fitting_message(refusal.message[:_MAX_MESSAGE]),
            trailing_metadata=(("grpc-status-details-bin", status.SerializeToString()),),
        )

    def _refusal(self, error: Exception, method: str) -> errors.Refusal:
        if isinstance(error, errors.Refusal):
            return error
        if isinstance(error, grpc.aio.AioRpcError) and error.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        ):
            return errors.unavailable("another service of the mesh")
        if isinstance(error, asyncio.TimeoutError):
            return errors.unavailable(method)
        if isinstance(error, NotImplementedError):
            # what the generated servicer raises for a call that this one does not have
            reason = ErrorReason.ERROR_REASON_UNKNOWN_CALL
            return errors.refused(grpc.StatusCode.UNIMPLEMENTED, reason, f"this service does not answer {method}")
        error_id = self._ids()
        log.error("%s failed unexpectedly (id %s)", method, error_id, exc_info=error, extra={"error_id": error_id})
        return errors.internal(error_id)


def _own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a handler runs in no task")
    return task


async def _each_checked(requests: AsyncIterator[Any], method: str) -> AsyncIterator[Any]:
    async for request in requests:
        check(request, method)
        yield request


def _guarded(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Lets a body that does not decode through as a marker: grpc.aio alone would answer it with UNKNOWN or INTERNAL."""

    def decode(body: bytes) -> Any:
        try:
            return deserialize(body) if deserialize else body
        except (DecodeError, ValueError):
            return _UNDECODABLE

    return decode
