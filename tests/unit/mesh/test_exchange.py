"""A request and its answer in one operation of gRPC's core: what grpc.aio does not promise, with the version that is pinned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh.exchange import core_of, exchange

PATIENCE = 60.0


async def answers(requests: Any, context: Any) -> AsyncIterator[bytes]:
    """Says what it was told; refuses, ends or says nothing when it is told to."""
    async for request in requests:
        if request == b"refuse":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as it was told")
        if request == b"end":
            return
        if request != b"nothing":
            yield request


@asynccontextmanager
async def stream(path: Path) -> AsyncIterator[Any]:
    """A call whose first message has been sent and answered."""
    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Say": grpc.stream_stream_rpc_method_handler(answers)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Test", handlers),))
    server.add_insecure_port(f"unix:{path}/test.sock")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path}/test.sock") as channel:
        call: Any = channel.stream_stream("/Test/Say")()
        await call.write(b"first")
        assert await call.read() == b"first"
        yield call
        call.cancel()
    await server.stop(None)


def begun(call: Any, request: bytes) -> asyncio.Future[bytes | None]:
    """An exchange, and what comes of it."""
    told = asyncio.get_running_loop().create_future()
    exchange(core_of(call), request, told.set_result)
    return told


async def exchanged(call: Any, request: bytes) -> bytes | None:
    """What comes of an exchange, within a patient while."""
    async with asyncio.timeout(PATIENCE):
        return await begun(call, request)


async def test_the_answer_comes_with_the_end_of_the_exchange(tmp_path: Path) -> None:
    """Of any size, as often as one likes, and with plain writes and reads in between."""
    async with stream(tmp_path) as call:
        for size in (1, 1000, 100_000, 0, 1):
            assert await exchanged(call, b"x" * size) == b"x" * size
            await call.write(b"between")
            assert await call.read() == b"between"


@pytest.mark.parametrize(("request_", "code"), [(b"refuse", grpc.StatusCode.FAILED_PRECONDITION), (b"end", grpc.StatusCode.OK)])
async def test_a_stream_that_ends_answers_with_nothing(tmp_path: Path, request_: bytes, code: grpc.StatusCode) -> None:
    """Who asks the call gets to know why; and whoever begins an exchange on it later is told the same."""
    async with stream(tmp_path) as call:
        assert await exchanged(call, request_) is None
        async with asyncio.timeout(PATIENCE):
            assert await call.code() is code
        assert await exchanged(call, b"more") is None


async def test_a_call_that_is_cancelled_ends_the_exchange(tmp_path: Path) -> None:
    """Nobody waits for an answer that does not come."""
    async with stream(tmp_path) as call:
        told = begun(call, b"nothing")
        await asyncio.sleep(0)
        assert not told.done()
        call.cancel()
        async with asyncio.timeout(PATIENCE):
            assert await told is None


def test_a_call_that_is_not_grpcs_has_no_core() -> None:
    """It is written and read."""
    assert core_of(object()) is None
