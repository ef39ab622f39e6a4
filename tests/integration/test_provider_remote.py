"""Calls to a provider over a real socket: every way to answer, to fail, to be slow and to refuse."""

import asyncio
import gc
import json
import logging
from contextlib import aclosing
from datetime import timedelta

import pytest
from msgspec.structs import replace

from services.provider.chat import Finish
from services.provider.failure import Failure, FailureKind
from services.provider.remote.calling import Remote
from tests.integration.remote_bench import (
    ANSWER,
    BODY,
    CHAT,
    DONE,
    KEY,
    LENGTH,
    SHORT,
    STOP,
    WORD,
    Far,
    failure_of,
    far_end,
    remote,
    streamed,
)

__all__ = ["remote"]


async def test_an_answer_and_the_same_connection_again(remote: Remote) -> None:
    """Kept alive: ten calls, one connection; the key travels in its header alone."""
    async with far_end(lambda far: far.answer(200, BODY)) as server:
        for _ in range(10):
            assert await remote.complete(server.target(), CHAT) == ANSWER
    assert server.connections == 1
    assert server.seen[0].head.startswith("POST /chat/completions HTTP/1.1\r\n")
    assert f"authorization: Bearer {KEY}\r\n" in server.seen[0].head
    assert KEY.encode() not in server.seen[0].body


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH + BODY,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY,
    ],
    ids=["chunked", "early hints", "http 1.0 until the end", "closed at the end"],
)  # fmt: skip
async def test_every_way_to_frame_an_answer(remote: Remote, reply: bytes) -> None:
    """RFC 9112: chunks, informational answers before, the end of the connection as the end; all byte by byte, too."""

    async def handler(far: Far) -> None:
        for byte in reply:
            await far.say(bytes([byte]))
            await asyncio.sleep(0)
        if b"chunked" not in reply and b"103" not in reply:
            far.writer.close()

    async with far_end(handler) as server:
        assert await remote.complete(server.target(), CHAT) == ANSWER


async def test_a_stream_gives_pieces_as_they_come(remote: Remote) -> None:
    """The first piece is there before the second is sent; afterwards the connection is used again."""
    first_seen = asyncio.Event()

    async def handler(far: Far) -> None:
        await far.begin()
        await far.chunk(WORD)
        await first_seen.wait()
        await far.chunk(STOP + DONE)
        await far.chunk(b"")

    async with far_end(handler) as server:
        for _ in range(2):
            async with aclosing(remote.stream(server.target(), CHAT)) as deltas:
                first, *more = await anext(deltas)
                assert first.text == "hi"
                first_seen.set()
                assert [delta.finish for delta in [*more, *[delta async for came in deltas for delta in came]]] == [Finish.STOP]
        assert server.connections == 1
        assert json.loads(server.seen[0].body)["stream_options"] == {"include_usage": True}


async def test_what_comes_together_goes_on_together(remote: Remote) -> None:
    """Also what stands before a trouble: it is told before the failure."""
    broken = asyncio.Event()

    async def handler(far: Far) -> None:
        await far.begin()
        await far.chunk(WORD * 3 + (b"data: {broken\n\n" if broken.is_set() else STOP + DONE))
        await far.chunk(b"")

    async with far_end(handler) as server:
        came = [came async for came in remote.stream(server.target(), CHAT) if came]
        assert [[delta.text for delta in each] for each in came] == [["hi", "hi", "hi", ""]]
        broken.set()
        seen: list[str] = []

        async def read() -> None:
            async for came in remote.stream(server.target(), CHAT):
                seen.extend(delta.text for delta in came)

        assert (await failure_of(read())).kind is FailureKind.MALFORMED
        assert seen == ["hi", "hi", "hi"]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (WORD, FailureKind.BROKEN_STREAM),
        (WORD[:20], FailureKind.BROKEN_STREAM),
        (WORD + b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n', FailureKind.SERVER_ERROR),
        (WORD + b"data: {broken\n\n", FailureKind.MALFORMED),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
async def test_a_stream_that_breaks(remote: Remote, sent: bytes, kind: FailureKind, cut: bool) -> None:
    """Ended in good order or by a cut connection, without its terminal marker it is broken; what came before was given."""

    async def handler(far: Far) -> None:
        await far.begin()
        await far.chunk(sent)
        if cut:
            far.writer.transport.abort()
        else:
            await far.chunk(b"")

    async with far_end(handler) as server:
        assert (await failure_of(streamed(remote, server.target()))).kind is kind


async def test_each_time_limit(remote: Remote) -> None:
    """No first byte, a pause within, and an answer that goes on for ever: TIMEOUT each, and nothing hangs."""

    async def silent(far: Far) -> None:
        await far.reader.read()

    async def pausing(far: Far) -> None:
        await far.begin()
        await far.chunk(WORD)
        await far.reader.read()

    async def endless(far: Far) -> None:
        await far.begin()
        while True:
            await far.chunk(WORD)
            await asyncio.sleep(0.05)

    for handler in (silent, pausing, endless):
        async with far_end(handler) as server:
            assert (await failure_of(streamed(remote, server.target(timeouts=SHORT)))).kind is FailureKind.TIMEOUT


async def test_a_refusal_with_a_time_to_wait(remote: Remote) -> None:
    """Status, class, words and Retry-After; a key that the provider quotes is taken out."""
    body = json.dumps({"error": {"message": f"bad key {KEY}", "code": "rate_limit"}}).encode()
    async with far_end(lambda far: far.answer(429, body, "Retry-After: 3")) as server:
        failure = await failure_of(remote.complete(server.target(), CHAT))
        assert failure == Failure(FailureKind.RATE_LIMITED, "bad key [key]", 429, timedelta(seconds=3))
        assert (await failure_of(streamed(remote, server.target()))).kind is FailureKind.RATE_LIMITED
        assert server.connections == 1, "a refusal is no reason to give a connection up"


async def test_a_redirect_is_not_followed(remote: Remote) -> None:
    """Whoever answers may not send our key elsewhere."""
    async with far_end(lambda far: far.answer(307, b"", "location: http://127.0.0.1:1/")) as server:
        failure = await failure_of(remote.complete(server.target(), CHAT))
    assert (failure.kind, failure.status) == (FailureKind.NOT_FOUND, 307)


@pytest.mark.parametrize(
    "reply", [b"not http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"]
)
async def test_what_is_no_http(remote: Remote, reply: bytes) -> None:
    """Garbage, and lengths that contradict each other."""
    async with far_end(lambda far: far.say(reply)) as server:
        failure = await failure_of(remote.complete(server.target(), CHAT))
    assert failure.kind in (FailureKind.MALFORMED, FailureKind.TIMEOUT)


async def test_an_answer_that_is_too_large(remote: Remote) -> None:
    """Bounded by a setting, whatever the provider sends."""
    async with far_end(lambda far: far.answer(200, b" " * 200_000)) as server:
        assert (await failure_of(remote.complete(server.target(), CHAT))).kind is FailureKind.MALFORMED


async def test_the_key_is_never_logged(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    """At any level, of calls that go well and of calls that fail."""
    caplog.set_level(logging.DEBUG)
    async with far_end(lambda far: far.answer(200 if far.number % 2 else 401, BODY)) as server:
        await remote.complete(server.target(), CHAT)
        await failure_of(remote.complete(server.target(), CHAT))
        logging.getLogger("test").info("%s", server.target())
    assert KEY not in caplog.text
    gc.collect()


async def test_a_header_cannot_be_smuggled(remote: Remote) -> None:
    """A key with a line end in it is refused before anything is sent."""
    async with far_end(lambda far: far.answer(200, BODY)) as server:
        failure = await failure_of(remote.complete(replace(server.target(), key="a\r\nx-evil: 1"), CHAT))
        assert failure.kind is FailureKind.UNREACHABLE
        assert server.seen == []
