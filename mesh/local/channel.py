"""A channel to servicers of the same process: the generated stubs take it in place of a grpc.aio channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from mesh.boundary import Boundary
from mesh.local.call import LocalCall, ManyAnswers, OneAnswer, StreamManyAnswers, StreamOneAnswer
from mesh.local.context import LocalContext

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
Handler = grpc.RpcMethodHandler


class _Details:
    """What an interceptor is told of a call."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()


class LocalServer:
    """Takes servicers as a grpc.aio.Server does, with the boundary that every call of the mesh passes."""

    def __init__(self, boundary: Boundary) -> None:
        self._boundary = boundary
        self._generic: list[grpc.GenericRpcHandler] = []
        self._methods: dict[str, Handler[Any, Any]] = {}
        self._wrapped: dict[str, Handler[Any, Any] | None] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Takes handlers that are asked for by method."""
        self._generic.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler[Any, Any]]) -> None:
        """Takes the handlers of a service by name."""
        self._methods.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    async def handler(self, method: str) -> Any:
        """The handler of a method with the boundary around it; None when there is none."""
        if method not in self._wrapped:
            details: Any = _Details(method)
            self._wrapped[method] = await self._boundary.intercept_service(self._find, details)
        return self._wrapped[method]

    async def _find(self, details: grpc.HandlerCallDetails) -> Handler[Any, Any] | None:
        # those by name are what a grpc.aio server asks first
        known = self._methods.get(details.method)
        if known is not None:
            return known
        return next((found for generic in self._generic if (found := generic.service(details))), None)


class LocalChannel(grpc.aio.Channel):
    """Calls the servicers of a LocalServer. Requests and answers are encoded on the way, so that neither side holds the other's."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._calls: set[LocalCall] = set()
        self._shut = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Itself; it is open already."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Takes no more calls and ends those under way, at once or after `grace` seconds."""
        self._shut.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace or 0):
                await self._all_ended()
        for call in list(self._calls):
            call.cancel()
        await self._all_ended()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Ready, until it is closed."""
        return grpc.ChannelConnectivity.SHUTDOWN if self._shut.is_set() else grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns when the state is another one: only closing changes it."""
        if self.get_state() is last_observed_state:
            await self._shut.wait()

    async def channel_ready(self) -> None:
        """Returns at once."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Makes calls with one request and one answer."""

        def invoke(request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            body = request_serializer(request) if request_serializer else request
            work = _one_to_one(self._server, method, body)
            return self._opened(OneAnswer(work, self._context(timeout, metadata), timeout, response_deserializer))

        return invoke

    def unary_stream(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Makes calls with one request and a stream of answers."""

        def invoke(request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            body = request_serializer(request) if request_serializer else request
            work = _one_to_many(self._server, method, body)
            return self._opened(ManyAnswers(work, self._context(timeout, metadata, opens=True), timeout, response_deserializer))

        return invoke

    def stream_unary(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Makes calls with a stream of requests and one answer."""

        def invoke(request_iterator: Any = None, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            async def work(context: LocalContext) -> bytes:
                handler = await _needed(self._server, method, context)
                answer = await handler.stream_unary(call.incoming(handler.request_deserializer), context)
                return _encoded(handler, answer)

            call = StreamOneAnswer(work, self._context(timeout, metadata), timeout, response_deserializer)
            call.set_up(request_iterator, request_serializer)
            return self._opened(call)

        return invoke

    def stream_stream(
        self,
        method: str,
        request_serializer: Encode | None = None,
        response_deserializer: Decode | None = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Makes calls with a stream in both directions."""

        def invoke(request_iterator: Any = None, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            async def work(context: LocalContext) -> AsyncIterator[bytes]:
                handler = await _needed(self._server, method, context)
                async for answer in handler.stream_stream(call.incoming(handler.request_deserializer), context):
                    yield _encoded(handler, answer)

            call = StreamManyAnswers(work, self._context(timeout, metadata, opens=True), timeout, response_deserializer)
            call.set_up(request_iterator, request_serializer)
            return self._opened(call)

        return invoke

    def _context(self, timeout: float | None, metadata: Any, *, opens: bool = False) -> LocalContext:
        if self._shut.is_set():
            raise grpc.aio.UsageError("Channel is closed.")
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        return LocalContext(tuple(metadata or ()), deadline, opened=asyncio.Event() if opens else None)

    async def _all_ended(self) -> None:
        await asyncio.gather(*(call.code() for call in self._calls))

    def _opened(self, call: Any) -> Any:
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call


def _one_to_one(server: LocalServer, method: str, body: bytes) -> Any:
    async def work(context: LocalContext) -> bytes:
        handler = await _needed(server, method, context)
        request = handler.request_deserializer(body) if handler.request_deserializer else body
        return _encoded(handler, await handler.unary_unary(request, context))

    return work


def _one_to_many(server: LocalServer, method: str, body: bytes) -> Any:
    async def work(context: LocalContext) -> AsyncIterator[bytes]:
        handler = await _needed(server, method, context)
        request = handler.request_deserializer(body) if handler.request_deserializer else body
        async for answer in handler.unary_stream(request, context):
            yield _encoded(handler, answer)

    return work


async def _needed(server: LocalServer, method: str, context: LocalContext) -> Any:
    handler = await server.handler(method)
    if handler is None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    return handler


def _encoded(handler: Any, answer: Any) -> bytes:
    encoded: bytes = handler.response_serializer(answer) if handler.response_serializer else answer
    return encoded


__all__: Sequence[str] = ("LocalChannel", "LocalServer")
