"""The way out: limits of time and size, no redirect followed, no address in an error."""

from collections.abc import AsyncIterator
from datetime import timedelta
from threading import Event

import pytest

from services.integration.exchange import Call, Unreachable
from services.integration.remote.outgoing import Outgoing
from tests.peers import web
from tests.peers.web import Reply, Seen


@pytest.fixture
async def outgoing() -> AsyncIterator[Outgoing]:
    """With room for a thousand bytes and ten seconds of time."""
    way = Outgoing(timedelta(seconds=10), 1000)
    yield way
    await way.close()


async def test_an_answer_comes_whole(outgoing: Outgoing) -> None:
    """Status, headers in lower case, body; the request as it was given."""
    with web.serving(lambda seen: Reply(418, seen.body * 2, {"X-Tea": "pot"})) as peer:
        answer = await outgoing.send(Call("POST", f"{peer.url}/a?b=c", {"accept": "x"}, b"tea"))
        (seen,) = peer.seen
    assert (answer.status, answer.headers["x-tea"], answer.body) == (418, "pot", b"teatea")
    assert (seen.method, seen.path, seen.headers["accept"], seen.body) == ("POST", "/a?b=c", "x", b"tea")
    assert seen.headers["user-agent"] == "tooloo-integration"


async def test_a_redirect_is_an_answer_not_a_way(outgoing: Outgoing) -> None:
    """Nobody sends us to an address of his choice."""
    with web.serving(lambda seen: Reply(302, headers={"location": "/elsewhere"})) as peer:
        assert (await outgoing.send(Call("GET", peer.url))).status == 302
        assert len(peer.seen) == 1


async def test_an_answer_has_a_size_limit(outgoing: Outgoing) -> None:
    """A thousand bytes pass, one more does not."""
    with web.serving(lambda seen: Reply(200, b"x" * int(seen.path[1:]))) as peer:
        assert len((await outgoing.send(Call("GET", f"{peer.url}/1000"))).body) == 1000
        with pytest.raises(Unreachable, match="1000 bytes"):
            await outgoing.send(Call("GET", f"{peer.url}/1001"))


async def test_an_answer_has_a_time_limit() -> None:
    """Who is silent for longer than is waited is unreachable, and the connection is given up."""
    way, release = Outgoing(timedelta(milliseconds=50), 1000), Event()

    def silent(_: Seen) -> Reply:
        release.wait(60)
        return Reply(200)

    try:
        with web.serving(silent) as peer:
            try:
                with pytest.raises(Unreachable, match="TimeoutError"):
                    await way.send(Call("GET", peer.url))
            finally:
                release.set()
    finally:
        await way.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "http://[half/secret", "gopher://x/secret", ""])
async def test_an_address_that_leads_nowhere_is_unreachable(outgoing: Outgoing, url: str) -> None:
    """Without the address in the text: Slack's webhooks are secrets."""
    with pytest.raises(Unreachable) as caught:
        await outgoing.send(Call("GET", url))
    assert "secret" not in str(caught.value)


async def test_a_token_that_no_header_can_hold_is_unreachable(outgoing: Outgoing) -> None:
    """As it is when a shortened token was copied from a page; the error does not show it."""
    with pytest.raises(Unreachable) as caught:
        await outgoing.send(Call("GET", "http://127.0.0.1:1", {"authorization": "Bearer xoxb-1234…"}))
    assert "xoxb" not in str(caught.value)


async def test_nothing_is_remembered_of_the_call_before(outgoing: Outgoing) -> None:
    """A cookie for one user's call does not come along with the next user's."""
    with web.serving(lambda seen: Reply(200, headers={"set-cookie": "session=ada; Path=/"})) as peer:
        for _ in range(2):
            await outgoing.send(Call("GET", peer.url))
        assert not any("cookie" in seen.headers for seen in peer.seen)
