"""The client of Envoy's admin page."""

import asyncio

import pytest

from envoy import admin

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nLIVE"


async def test_a_proxy_of_the_environment_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reaches the world by a proxy asks its own Envoy itself: that proxy would ask another machine, or nobody."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, admin.client(server.sockets[0].getsockname()[1], 20) as client:
        assert (await client.get("/ready")).text == "LIVE"
