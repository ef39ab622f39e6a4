"""HEAD at the door: what GET would answer, without the body."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.door_bench import Bench, bench

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One door for all tests of this file."""
    async with bench(tmp_path_factory.mktemp("door")) as running:
        yield running


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/api/v1/system/info", "/api/v1/events/stats", "/api/v1/nothing"])
async def test_head_is_get_without_a_body(door: Bench, path: str) -> None:
    """Same status and kind, no body, and the connection goes on with the next call; what GET refuses HEAD refuses."""
    async with httpx.AsyncClient(base_url=door.rest.base_url, timeout=60) as client:
        got = await client.get(path)
        for _ in range(2):
            head = await client.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
        assert (await client.get(path)).status_code == got.status_code


async def test_head_ends_no_sign_in(door: Bench) -> None:
    """Link checkers and previews of chats send HEAD to the address that a browser comes back to: the service never hears of it."""
    answer = await door.rest.head("/api/v1/oauth/callback?state=s&code=c")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "GET", b"")


async def test_head_of_a_stream_is_refused(door: Bench) -> None:
    """A stream has no end, so HEAD is not allowed there; the answer says what is."""
    answer = await door.rest.head("/api/v1/events/follow")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "GET", b"")
