"""A channel within one process behaves as grpc.aio's does: all four kinds of calls, ends, refusals, cancellation, deadlines.

Each test runs on a real server and channel of grpc.aio too: that is the oracle.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh import call as current_call
from mesh import errors
from mesh.boundary import Boundary
from mesh.local.channel import LocalChannel, LocalServer
from mesh.reconnect import refusal_of

SERVICE = "tooloo.test.v1.Echo"
PATIENCE = 30.0


class Echo:
    """A servicer on plain bytes, with a method of each kind."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.calls: list[current_call.Call] = []

    async def one(self, request: bytes, context: Any) -> bytes:
        """Answers the request, refuses "no", waits for ever on "wait"."""
        self.calls.append(current_call.current.get())
        if request == b"no":
            raise errors.not_found("thing", "x")
        if request == b"boom":
            raise ValueError("secret")
        if request == b"wait":
            await self._for_ever()
        return request

    async def many(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Answers each byte; "no" is refused in the middle; "wait" goes on for ever."""
        try:
            for byte in request:
                yield bytes([byte])
            if request == b"no":
                raise errors.not_found("thing", "x")
            if request == b"wait":
                await self._for_ever()
        finally:
            self.ended.set()

    async def gather(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Answers all requests in one."""
        return b"".join([request async for request in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Answers each request."""
        async for request in requests:
            yield request.upper()

    async def _for_ever(self) -> None:
        self.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended.set()

    def handlers(self) -> Any:
        """What a server is given."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "One": grpc.unary_unary_rpc_method_handler(self.one),
                "Many": grpc.unary_stream_rpc_method_handler(self.many),
                "Gather": grpc.stream_unary_rpc_method_handler(self.gather),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            },
        )


@pytest.fixture
async def echo() -> Echo:
    """The servicer."""
    return Echo()


def boundary() -> Boundary:
    """The boundary, which has no rules for messages that are no messages."""
    return Boundary(self_validating=frozenset(f"{SERVICE}/{name}" for name in ("One", "Many", "Gather", "Chat")))


@asynccontextmanager
async def local_channel(echo: Echo, _: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel within this process; it must leave no task behind."""
    server = LocalServer(boundary())
    server.add_generic_rpc_handlers([echo.handlers()])
    before = asyncio.all_tasks()
    async with LocalChannel(server) as opened:
        yield opened
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


@asynccontextmanager
async def real_channel(echo: Echo, folder: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel of grpc.aio to a server of grpc.aio."""
    server = grpc.aio.server(interceptors=(boundary(),))
    server.add_generic_rpc_handlers([echo.handlers()])
    address = f"unix:{folder / 'echo.sock'}"
    server.add_insecure_port(address)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as opened:
            yield opened
    finally:
        await server.stop(None)


@pytest.fixture(params=[local_channel, real_channel], ids=["local", "grpc.aio"])
async def channel(echo: Echo, request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the servicer, through the boundary."""
    # a socket's path is short by law of the kernel, a test's folder is not
    with tempfile.TemporaryDirectory(prefix="tooloo-") as folder:
        async with request.param(echo, Path(folder)) as opened, asyncio.timeout(PATIENCE):
            yield opened


@pytest.fixture
async def local(echo: Echo) -> AsyncIterator[grpc.aio.Channel]:
    """For what has no equal over a socket."""
    async with local_channel(echo, Path()) as opened, asyncio.timeout(PATIENCE):
        yield opened


async def test_a_unary_call_gives_its_answer(channel: Any) -> None:
    """Again when it is awaited again, with an OK status."""
    call = channel.unary_unary(f"/{SERVICE}/One")(b"hi")
    assert (await call, await call, await call.code()) == (b"hi", b"hi", grpc.StatusCode.OK)
    assert call.done()


async def test_a_unary_call_that_nobody_awaits_happens_all_the_same(channel: Any, echo: Echo) -> None:
    """As with grpc.aio, a call begins by itself."""
    call = channel.unary_unary(f"/{SERVICE}/One")(b"hi")
    assert await call.code() is grpc.StatusCode.OK
    assert len(echo.calls) == 1


async def test_a_call_does_not_change_its_callers_circumstances(channel: Any, echo: Echo) -> None:
    """The handler works under a call of its own, in the caller's trace; the caller's comes back."""
    mine = current_call.Call("mine", correlation_id="c")
    token = current_call.current.set(mine)
    await channel.unary_unary(f"/{SERVICE}/One")(b"hi", metadata=current_call.to_metadata(mine))
    assert current_call.current.get() is mine
    assert (echo.calls[0].method, echo.calls[0].correlation_id) == (f"{SERVICE}/One", "c")
    current_call.current.reset(token)


async def test_a_refusal_arrives_with_its_details(channel: Any) -> None:
    """Through the same boundary as over a socket."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICE}/One")(b"no")
    refusal = refusal_of(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_an_unexpected_error_tells_nothing_but_an_id(channel: Any) -> None:
    """INTERNAL, without the exception's text."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICE}/One")(b"boom")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


async def test_an_unknown_method_is_unimplemented(channel: Any) -> None:
    """As a server says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICE}/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_ends_a_call(channel: Any, echo: Echo) -> None:
    """DEADLINE_EXCEEDED for the caller, a cancellation for the handler."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICE}/One")(b"wait", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await echo.ended.wait()


async def test_cancelling_the_awaiting_task_cancels_the_call(channel: Any, echo: Echo) -> None:
    """Nothing goes on behind it."""
    call = channel.unary_unary(f"/{SERVICE}/One")(b"wait")

    async def wait() -> None:
        await call

    waiting = asyncio.create_task(wait())
    await echo.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.cancelled()
    await echo.ended.wait()


async def test_a_call_can_be_cancelled_by_another_task(channel: Any, echo: Echo) -> None:
    """Whoever awaits it gets the cancellation; its own task goes on."""
    call = channel.unary_unary(f"/{SERVICE}/One")(b"wait")

    async def cancel() -> None:
        await echo.begun.wait()
        assert call.cancel()

    cancelling = asyncio.create_task(cancel())
    with pytest.raises(asyncio.CancelledError):
        await call
    await cancelling
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert not call.cancel()


async def test_a_stream_of_answers_ends_with_eof(channel: Any) -> None:
    """By read() and by iteration alike."""
    invoke = channel.unary_stream(f"/{SERVICE}/Many")
    call = invoke(b"ab")
    assert [await call.read(), await call.read(), await call.read()] == [b"a", b"b", grpc.aio.EOF]
    assert [answer async for answer in invoke(b"ab")] == [b"a", b"b"]


async def test_a_refusal_comes_behind_what_was_answered(channel: Any) -> None:
    """Answers first, then the status."""
    call = channel.unary_stream(f"/{SERVICE}/Many")(b"no")
    assert [await call.read(), await call.read()] == [b"n", b"o"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_cancelling_a_stream_ends_its_handler(channel: Any, echo: Echo) -> None:
    """The handler's cleaning up happens."""
    call = channel.unary_stream(f"/{SERVICE}/Many")(b"wait")
    await call.read()
    assert call.cancel()
    await echo.ended.wait()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_a_slow_reader_slows_the_handler(local: Any, echo: Echo) -> None:
    """The handler is never further ahead than a window."""
    call = local.unary_stream(f"/{SERVICE}/Many")(bytes(1000))
    await call.read()
    await asyncio.sleep(0)
    assert not echo.ended.is_set()
    assert len([answer async for answer in call]) == 999


async def test_a_stream_of_requests_is_written_or_iterated(channel: Any) -> None:
    """Both ways of grpc.aio; done_writing() ends it."""
    invoke = channel.stream_unary(f"/{SERVICE}/Gather")
    call = invoke()
    await call.write(b"a")
    await call.write(b"b")
    await call.done_writing()
    assert await call == b"ab"
    assert await invoke(iter([b"c", b"d"])) == b"cd"


async def test_both_directions_go_on_at_once(channel: Any) -> None:
    """An answer comes before the next request is written."""
    call = channel.stream_stream(f"/{SERVICE}/Chat")()
    for word in (b"a", b"b"):
        await call.write(word)
        assert await call.read() == word.upper()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"late")


async def test_closing_ends_every_call(channel: Any, echo: Echo) -> None:
    """And no more can be made."""
    call = channel.unary_stream(f"/{SERVICE}/Many")(b"wait")
    await call.read()
    await channel.close()
    await echo.ended.wait()
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    with pytest.raises(grpc.aio.UsageError):
        channel.unary_unary(f"/{SERVICE}/One")(b"hi")
