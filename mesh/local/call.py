"""Calls within one process, with the face of grpc.aio's call objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import aclosing, suppress
from typing import Any

import grpc

from mesh import call as current_call
from mesh.local.context import LocalContext
from mesh.local.streams import Pipe, Requests

_CANCELLED = "Locally cancelled by application!"
_DEADLINE = "Deadline Exceeded"


class LocalCall:
    """What all four kinds of calls share: how the call stands and how it is ended. It begins by itself, as with grpc.aio."""

    def __init__(self, context: LocalContext, timeout: float | None, decode: Callable[[bytes], Any] | None) -> None:
        self._context = context
        self._timeout = timeout
        self._decode = decode
        self._finished = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._callbacks: list[Callable[[Any], None]] = []

    def cancelled(self) -> bool:
        """Whether the call was cancelled."""
        return self.done() and self._context.outcome.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Whether the call has ended."""
        return self._finished.done()

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return self._context.time_remaining()

    def cancel(self) -> bool:
        """Ends the call; False when it has ended already."""
        if self.done() or self._cancelled:
            return False
        self._cancelled = True
        if self._task is None:
            self._end(grpc.StatusCode.CANCELLED, _CANCELLED)
        else:
            self._task.cancel()
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back when the call has ended."""
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """The headers of the answer, as soon as they or the end are there."""
        opened = self._context.opened
        if opened is not None:
            await opened.wait()
        return grpc.aio.Metadata(*self._context.outcome.initial)

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What came beside the status, once the call has ended."""
        await asyncio.shield(self._finished)
        return grpc.aio.Metadata(*self._context.outcome.trailing)

    async def code(self) -> grpc.StatusCode:
        """The status code, once the call has ended."""
        await asyncio.shield(self._finished)
        return self._context.outcome.code

    async def details(self) -> str:
        """The status message, once the call has ended."""
        await asyncio.shield(self._finished)
        return self._context.outcome.details

    async def wait_for_connection(self) -> None:
        """Returns at once: there is nothing to connect to."""

    def _end(self, code: grpc.StatusCode | None = None, details: str = "") -> None:
        """Closes the books; without a code it is the one that the handler set."""
        if self.done():
            return
        if code is not None:
            self._context.outcome.code, self._context.outcome.details = code, details
        self._finished.set_result(None)
        if self._context.opened is not None:
            self._context.opened.set()
        self._context.end()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs the handler's part and writes down how it ended; only a cancellation leaves as an exception."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await work
        except grpc.aio.AbortError:
            self._end()
        except TimeoutError:
            self._end(grpc.StatusCode.DEADLINE_EXCEEDED, _DEADLINE)
        except asyncio.CancelledError:
            self._end(grpc.StatusCode.CANCELLED, _CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001 - what a handler lets through is its caller's UNKNOWN, as over gRPC
            self._end(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}")
        else:
            self._end()
            return answer
        return None

    def _raise_unless_ok(self) -> None:
        if self.cancelled():
            raise asyncio.CancelledError
        if self._context.outcome.code is not grpc.StatusCode.OK:
            raise self._context.outcome.error()


class OneAnswer(LocalCall):
    """A call with one answer. Awaited at once it runs in the caller's own task: no hop, no queue."""

    def __init__(
        self,
        work: Callable[[LocalContext], Coroutine[Any, Any, bytes]],
        context: LocalContext,
        timeout: float | None,
        decode: Callable[[bytes], Any] | None,
    ) -> None:
        super().__init__(context, timeout, decode)
        self._work = work
        self._answer: Any = None
        self._starting = asyncio.get_running_loop().call_soon(self._start)

    def __await__(self) -> Generator[Any, None, Any]:
        """The answer; AioRpcError when the call was refused."""
        return self._outcome().__await__()

    def _start(self) -> None:
        if self._task is None and not self.done():
            self._task = asyncio.create_task(self._run())

    async def _outcome(self) -> Any:
        if self._task is None and not self.done():
            await self._run_here()
        elif not self.done():
            await self._wait()
        self._raise_unless_ok()
        return self._decode(self._answer) if self._decode else self._answer

    async def _wait(self) -> None:
        try:
            await asyncio.shield(self._finished)
        except asyncio.CancelledError:
            # who awaits a call and is cancelled cancels the call, as with grpc.aio
            self.cancel()
            raise

    async def _run_here(self) -> None:
        self._starting.cancel()
        self._task = here = asyncio.current_task()
        # the handler works under a call of its own; its caller's comes back with the answer
        token = current_call.current.set(current_call.current.get())
        try:
            self._answer = await self._guarded(self._work(self._context))
        except asyncio.CancelledError:
            if self._cancelled and here is not None:
                here.uncancel()
            raise
        finally:
            current_call.current.reset(token)

    async def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._answer = await self._guarded(self._work(self._context))


class ManyAnswers(LocalCall):
    """A call with a stream of answers; the handler runs in a task of its own, at most a window ahead of the reader."""

    def __init__(
        self,
        work: Callable[[LocalContext], AsyncIterator[bytes]],
        context: LocalContext,
        timeout: float | None,
        decode: Callable[[bytes], Any] | None,
    ) -> None:
        super().__init__(context, timeout, decode)
        self._work = work
        self._answers = Pipe()
        self._task = asyncio.create_task(self._run())

    async def read(self) -> Any:
        """The next answer; grpc.aio.EOF at the end; AioRpcError when the call was refused."""
        try:
            body = await self._answers.get()
        except EOFError:
            self._raise_unless_ok()
            return grpc.aio.EOF
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self._decode(body) if self._decode else body

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Answers until the end."""
        while (answer := await self.read()) is not grpc.aio.EOF:
            yield answer

    async def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                await self._guarded(self._pump())
        finally:
            self._answers.close()

    async def _pump(self) -> None:
        async with aclosing(self._work(self._context)) as answers:  # type: ignore[type-var]  # handlers are async generators
            async for answer in answers:
                if self._context.opened is not None:
                    self._context.opened.set()
                await self._answers.put(answer)


class Writing:
    """The part of a call by which its caller sends a stream of requests."""

    _finished: asyncio.Future[None]

    def set_up(self, requests: Any, encode: Callable[[Any], bytes] | None) -> None:
        """Makes the way for requests; an iterator of them is sent by itself."""
        self._requests = Pipe()
        self._encode = encode
        self._feeding = asyncio.create_task(self._feed(requests)) if requests is not None else None
        self._finished.add_done_callback(self._closed)

    def incoming(self, decode: Callable[[bytes], Any] | None) -> Requests:
        """The requests as the handler reads them."""
        return Requests(self._requests, decode)

    async def write(self, request: Any) -> None:
        """Sends a request, as soon as there is room; asyncio.InvalidStateError when the call has ended."""
        await self._requests.put(self._encode(request) if self._encode else request)

    async def done_writing(self) -> None:
        """Says that no request follows."""
        self._requests.close()

    def _closed(self, _: asyncio.Future[None]) -> None:
        self._requests.close()
        if self._feeding is not None:
            self._feeding.cancel()

    async def _feed(self, requests: Any) -> None:
        with suppress(asyncio.InvalidStateError):
            if hasattr(requests, "__aiter__"):
                async for request in requests:
                    await self.write(request)
            else:
                for request in requests:
                    await self.write(request)
            await self.done_writing()


class StreamOneAnswer(Writing, OneAnswer):
    """A call with a stream of requests and one answer."""


class StreamManyAnswers(Writing, ManyAnswers):
    """A call with a stream in both directions."""
