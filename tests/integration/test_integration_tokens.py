"""Tokens of connections: refreshed once for all, revoked for good, and kept while their provider is away."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
from tooloo.integration.v1 import connection_pb2, integration_events_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb

from services.integration.lease import Lease
from services.integration.store import connections as store
from tests.integration.integration_bench import CALLBACK, Bench, integration, oidc_settings, refusal, until
from tests.peers import oidc, web
from tests.peers.web import Reply, Seen

REQUEST_ID = "0190b5a4-0000-7000-8000-000000000001"
ACTIVE, LAPSED = connection_pb2.CONNECTION_STATE_ACTIVE, connection_pb2.CONNECTION_STATE_LAPSED
HOUR = timedelta(hours=1)


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    """A real provider with tokens of an hour."""
    async with oidc.oidc_provider([CALLBACK]) as url:
        yield url


@pytest.fixture
async def bench(issuer: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """The service, configured for it."""
    async with integration(tmp_path, **oidc_settings(issuer)) as running:
        yield running


async def test_an_ended_token_is_refreshed_once_for_all(bench: Bench, issuer: str) -> None:
    """Ten uses at the end of a token make one refresh: the rotated refresh token would be dead for a second one."""
    await bench.connect()
    before = await bench.tokens()
    bench.clock.advance(HOUR)
    checks = await asyncio.gather(*(bench.check() for _ in range(10)))
    assert all(check.verified for check in checks)
    after = await bench.tokens()
    assert after[0] != before[0]
    assert after[1] != before[1], "this provider rotates"
    assert await oidc.introspect(issuer, after[0])
    bench.clock.advance(HOUR)
    assert (await bench.check()).verified, "the kept refresh token is the new one"


async def test_a_refresh_goes_on_when_its_caller_hangs_up(bench: Bench) -> None:
    """A caller that is gone in the middle of a refresh costs nothing: the new tokens are kept."""
    await bench.connect()
    bench.clock.advance(HOUR)
    version = (await bench.stored()).version
    call = bench.stub.CheckConnection(pb.CheckConnectionRequest(user_id="ada", provider="oidc"))
    await until(lambda: _begun(bench, version))
    call.cancel()
    assert (await bench.check()).verified


async def _begun(bench: Bench, version: int) -> bool:
    rows = await bench.running.host.db.read(lambda tx: tx.fetch_all("SELECT lease_us, version FROM connections"))
    return bool(rows[0]["lease_us"] > 0 or rows[0]["version"] > version)


async def test_what_was_under_way_for_a_revoked_connection_does_not_touch_the_next_one(bench: Bench) -> None:
    """Revoked and connected anew while its token was refreshed or refused elsewhere: the new connection stays as it is."""
    await bench.connect()
    old = await bench.stored()
    await bench.stub.RevokeConnection(pb.RevokeConnectionRequest(user_id="ada", provider="oidc"))
    bench.clock.advance(timedelta(seconds=5))
    await bench.connect()
    new = await bench.stored()
    assert not await bench.running.host.db.write(lambda tx: store.replace_tokens(tx, old))
    await bench.running.host.db.write(lambda tx: store.mark_lapsed(tx, old))
    assert await bench.stored() == new


@dataclass
class Held:
    """A provider that does not answer at one path until it is let go."""

    path: str
    asked: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def respond(self, seen: Seen) -> Reply:
        """Tokens, and yes to all else."""
        if seen.path == self.path:
            self.asked.set()
            self.go_on.wait(30)
        return Reply(200, b'{"access_token": "a"}')


@asynccontextmanager
async def held_at(path: str, folder: Path) -> AsyncIterator[tuple[Bench, Held]]:
    """The service with such a provider, named corp."""
    held = Held(path)
    with web.serving(held.respond) as peer:
        ways = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "revocation_endpoint": "/revoke"}
        lines = [
            "[corp]",
            'client_id = "c"',
            "secret_needed = false",
            *(f'{name} = "{peer.url}{way}"' for name, way in ways.items()),
        ]
        file = folder / "providers.toml"
        await asyncio.to_thread(file.write_text, "\n".join(lines))
        async with integration(folder / "data", providers_file=str(file)) as bench:
            yield bench, held


async def test_a_revocation_goes_on_when_its_caller_hangs_up(tmp_path: Path) -> None:
    """The provider has killed the tokens and the caller is gone: the connection ends here too, and is told of."""
    async with held_at("/revoke", tmp_path) as (bench, held):
        state = (await bench.authorize(provider="corp")).state
        await bench.stub.CompleteOAuth(pb.CompleteOAuthRequest(state=state, code="c"))
        call = bench.stub.RevokeConnection(pb.RevokeConnectionRequest(user_id="ada", provider="corp"))
        assert await asyncio.to_thread(held.asked.wait, 30)
        call.cancel()
        held.go_on.set()
        await until(lambda: _revoked(bench))
        assert not (await bench.connections()).connections


async def test_a_repeat_waits_for_the_completion_that_its_caller_gave_up(tmp_path: Path) -> None:
    """The provider was slower than the caller's deadline: asked again with the same id it is the answer, not "used already"."""
    async with held_at("/token", tmp_path) as (bench, held):
        state = (await bench.authorize(provider="corp")).state
        request = pb.CompleteOAuthRequest(state=state, code="c", request_id=REQUEST_ID)
        call = bench.stub.CompleteOAuth(request)
        assert await asyncio.to_thread(held.asked.wait, 30)
        call.cancel()
        again = asyncio.ensure_future(bench.stub.CompleteOAuth(request))
        # so that the repeat has come before the first one goes on
        for _ in range(20):
            await bench.connections()
        held.go_on.set()
        assert (await again).connection.state == ACTIVE


async def test_a_repeat_at_another_replica_waits(tmp_path: Path) -> None:
    """A completion or revocation that one process has begun is not begun by another one: both give one answer."""
    for path in ("/token", "/revoke"):
        folder = tmp_path / path[1:]
        folder.mkdir()
        async with (
            held_at(path, folder) as (one, held),
            integration(folder / "data", providers_file=str(folder / "providers.toml")) as other,
        ):
            state = (await one.authorize(provider="corp")).state
            request = pb.CompleteOAuthRequest(state=state, code="c", request_id=REQUEST_ID)
            revoke = pb.RevokeConnectionRequest(user_id="ada", provider="corp", request_id=REQUEST_ID)
            if path == "/revoke":
                await one.stub.CompleteOAuth(request)
            first, again = (
                bench.stub.CompleteOAuth(request) if path == "/token" else bench.stub.RevokeConnection(revoke)
                for bench in (one, other)
            )
            assert await asyncio.to_thread(held.asked.wait, 30)
            await asyncio.sleep(0.3)
            held.go_on.set()
            assert await again == await first


async def _revoked(bench: Bench) -> bool:
    return [event.provider_revoked for event in await bench.told(integration_events_pb2.OAuthRevoked)] == [True]


async def test_a_lease_that_a_killed_process_left_ends(bench: Bench) -> None:
    """A process that died while refreshing holds nobody up for longer than the lease."""
    await bench.connect()
    bench.clock.advance(HOUR)
    found = await bench.stored()
    lease = _lease(bench.clock.now())
    assert await bench.running.host.db.write(lambda tx: store.lease_refresh(tx, found, lease))
    assert not await bench.running.host.db.write(lambda tx: store.lease_refresh(tx, found, lease))
    await bench.running.restart()
    bench.clock.advance(timedelta(seconds=31))
    assert (await bench.check()).verified


async def test_a_lease_of_a_clock_that_was_ahead_holds_nobody_up(bench: Bench) -> None:
    """A process that died while refreshing, and a clock that was put right by a day: the next one refreshes."""
    await bench.connect()
    found = await bench.stored()
    ahead = _lease(bench.clock.now() + timedelta(days=1))
    assert await bench.running.host.db.write(lambda tx: store.lease_refresh(tx, found, ahead))
    now = bench.clock.now()
    a_moment_before = now - timedelta(seconds=1)
    for at, taken in ((now, True), (a_moment_before, False)):
        assert await bench.running.host.db.write(partial(store.lease_refresh, connection=found, lease=_lease(at))) is taken


async def test_a_refresh_that_took_too_long_ends_only_its_own_lease(bench: Bench) -> None:
    """The one who took the refresh over goes on alone when the first one fails at last."""
    await bench.connect()
    found, database = await bench.stored(), bench.running.host.db
    late = _lease(bench.clock.now())
    following = _lease(late.until)
    for lease in (late, following):
        assert await database.write(partial(store.lease_refresh, connection=found, lease=lease))
    await database.write(partial(store.release_refresh, connection=found, lease=late))
    assert not await database.write(partial(store.lease_refresh, connection=found, lease=following))
    await database.write(partial(store.release_refresh, connection=found, lease=following))
    assert await database.write(partial(store.lease_refresh, connection=found, lease=following))


def _lease(begin: datetime) -> Lease:
    return Lease("one", begin, begin + timedelta(seconds=30))


async def test_a_grant_that_the_user_took_back_lapses(bench: Bench, issuer: str) -> None:
    """Tokens killed at the provider: the connection is LAPSED, says so to whoever uses it, and connecting again mends it."""
    await bench.connect()
    _, refresh = await bench.tokens()
    async with httpx.AsyncClient(timeout=60) as client:
        killed = await client.post(f"{issuer}/token/revocation", data={"token": refresh}, auth=oidc.CREDENTIALS)
    assert killed.status_code == 200
    bench.clock.advance(HOUR)
    checked = await bench.check()
    assert (checked.connection.state, checked.verified) == (LAPSED, False)
    assert (await bench.check()).connection.state == LAPSED, "and stays so"
    await bench.connect()
    assert (await bench.check()).verified


async def test_a_dead_provider_keeps_the_connection_unless_told_otherwise(tmp_path: Path) -> None:
    """Revoking without the provider changes nothing; with forget_anyway the tokens are forgotten here and the event says so."""
    async with oidc.oidc_provider([CALLBACK]) as issuer, integration(tmp_path, **oidc_settings(issuer)) as first:
        await first.connect()
    async with integration(tmp_path, **oidc_settings(issuer)) as bench:
        request = pb.RevokeConnectionRequest(user_id="ada", provider="oidc")
        refused = await refusal(bench.stub.RevokeConnection(request))
        assert (refused.code, refused.metadata["dependency"]) == (grpc.StatusCode.UNAVAILABLE, "oidc")
        assert refused.wait
        assert len((await bench.connections()).connections) == 1
        request.forget_anyway = True
        assert not (await bench.stub.RevokeConnection(request)).provider_revoked
        assert not (await bench.connections()).connections
        assert [event.provider_revoked for event in await bench.told(integration_events_pb2.OAuthRevoked)] == [False]


async def test_a_token_that_ended_before_its_time_is_replaced(bench: Bench, issuer: str) -> None:
    """The provider no longer takes a token that looks good here: the check refreshes it once and says yes."""
    await bench.connect()
    before, _ = await bench.tokens()
    await oidc.end(issuer, before)
    assert not await oidc.introspect(issuer, before)
    assert (await bench.check()).verified
    after, _ = await bench.tokens()
    assert after != before
    assert (await bench.connections()).connections[0].state == ACTIVE


async def test_a_provider_that_is_away_costs_no_connection(tmp_path: Path) -> None:
    """A refresh that cannot reach the provider is UNAVAILABLE with a time to try again; the connection stays as it was."""
    async with oidc.oidc_provider([CALLBACK]) as issuer, integration(tmp_path, **oidc_settings(issuer)) as bench:
        await bench.connect()
        bench.clock.advance(HOUR)
    async with integration(tmp_path, **oidc_settings(issuer)) as bench:
        bench.clock.advance(HOUR)
        for _ in range(2):
            refused = await refusal(bench.check())
            assert (refused.code, refused.metadata["dependency"]) == (grpc.StatusCode.UNAVAILABLE, "oidc")
            assert refused.wait
        assert (await bench.connections()).connections[0].state == ACTIVE
