"""Connections to a provider: kept and used again, bounded, closed by either side, and never made."""

import asyncio
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from services.provider.failure import FailureKind
from services.provider.remote.calling import Remote
from tests.integration.remote_bench import ANSWER, BODY, CHAT, DONE, STOP, WORD, Far, failure_of, far_end, remote, streamed

__all__ = ["remote"]


async def test_hanging_up_closes_the_connection_at_once(remote: Remote) -> None:
    """A caller who leaves, by closing or by cancellation: the provider sees it and stops generating."""
    second = asyncio.Event()

    async def handler(far: Far) -> None:
        second.set()
        await far.begin()
        while True:
            await far.chunk(WORD)
            await asyncio.sleep(0.01)

    async with far_end(handler) as server:
        async with aclosing(remote.stream(server.target(), CHAT)) as deltas:
            await anext(deltas)
        async with asyncio.timeout(60):
            await server.gone.wait()
        server.gone.clear()
        second.clear()
        task = asyncio.create_task(streamed(remote, server.target()))
        await second.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await server.gone.wait()


async def test_cancelled_while_waiting_for_the_answer(remote: Remote) -> None:
    """Before the first byte, too."""
    arrived = asyncio.Event()

    async def handler(far: Far) -> None:
        arrived.set()
        await far.reader.read(1)
        raise ConnectionError

    async with far_end(handler) as server:
        task = asyncio.create_task(remote.complete(server.target(), CHAT))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await server.gone.wait()


async def test_nobody_there(remote: Remote) -> None:
    """A refused connection, a name that does not exist, an address that is none."""
    async with far_end(lambda far: far.answer(200, BODY)) as server:
        pass
    for url in (server.url, "http://name.invalid", "ftp://x"):
        failure = await failure_of(remote.complete(replace(server.target(), base_url=url), CHAT))
        assert failure.kind is FailureKind.UNREACHABLE


async def test_a_provider_that_closes_idle_connections(remote: Remote) -> None:
    """A connection that was closed meanwhile is not used: the next call makes a new one."""

    async def handler(far: Far) -> None:
        await far.answer(200, BODY)
        far.writer.close()

    async with far_end(handler) as server:
        for _ in range(3):
            assert await remote.complete(server.target(), CHAT) == ANSWER
            await asyncio.sleep(0.02)
        assert server.connections == 3


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("streams", [False, True])
async def test_a_kept_connection_that_ends_as_it_is_used(remote: Remote, streams: bool, resets: bool) -> None:
    """The far end's idle time runs out as the request leaves, on all connections: each call goes on over a new one."""
    used: set[asyncio.StreamWriter] = set()

    async def handler(far: Far) -> None:
        if far.writer in used:
            ends = far.writer.transport.abort if resets else far.writer.close
            ends()
            raise ConnectionError
        used.add(far.writer)
        if streams:
            await far.begin()
            await far.chunk(WORD + STOP + DONE)
            await far.chunk(b"")
        else:
            await far.answer(200, BODY)

    async with far_end(handler) as server:
        for _ in range(3):
            if streams:
                calls = [streamed(remote, server.target()) for _ in range(4)]
                assert all(len(pieces) > 1 for pieces in await asyncio.gather(*calls))
            else:
                wholes = [remote.complete(server.target(), CHAT) for _ in range(4)]
                assert await asyncio.gather(*wholes) == [ANSWER] * 4
        assert server.connections > 4


@pytest.mark.parametrize("answered", [0, 1])
async def test_a_provider_that_hangs_up_on_everybody(remote: Remote, answered: int) -> None:
    """A new connection that ends without an answer is a failure at once: a request is sent twice at most."""

    async def handler(far: Far) -> None:
        if far.number > answered:
            far.writer.close()
            raise ConnectionError
        await far.answer(200, BODY)

    async with far_end(handler) as server:
        for _ in range(answered):
            await remote.complete(server.target(), CHAT)
        assert (await failure_of(remote.complete(server.target(), CHAT))).kind is FailureKind.UNREACHABLE
        assert len(server.seen) == 1 + 2 * answered


async def test_connections_are_bounded(remote: Remote) -> None:
    """Of 20 calls at once four are at the provider, and all are answered."""
    inside, most = 0, 0

    async def handler(far: Far) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.02)
        inside -= 1
        await far.answer(200, BODY)

    async with far_end(handler) as server:
        answers = await asyncio.gather(*(remote.complete(server.target(), CHAT) for _ in range(20)))
        assert answers == [ANSWER] * 20
        assert (most, server.connections) == (4, 4)
