"""Connecting accounts, with a real OpenID Connect provider at the far end."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import pytest
from joserfc.jwk import KeySet, RSAKey
from tooloo.integration.v1 import connection_pb2, integration_events_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb

from mesh.clock import from_us
from services.integration.store import connections as store
from tests.integration.integration_bench import CALLBACK, Bench, came_back, integration, oidc_settings, refusal, until
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


async def test_an_account_is_connected_checked_and_revoked(bench: Bench, issuer: str) -> None:
    """The whole way: authorization address, consent, callback page, listed, token works, revoked there and here, all told."""
    begun = await bench.authorize(scopes=["openid", "offline_access"])
    query = parse_qs(urlsplit(begun.authorization_url).query)
    assert begun.authorization_url.startswith(f"{issuer}/auth?")
    assert query["code_challenge_method"] == ["S256"]
    assert query["state"] == [begun.state]
    assert query["redirect_uri"] == [CALLBACK]

    back = await oidc.consent(begun.authorization_url, "ada")
    assert back.startswith(f"{CALLBACK}?")
    page = await bench.stub.HandleOAuthCallback(pb.HandleOAuthCallbackRequest(**_query(back)))
    assert page.content_type == "text/html; charset=utf-8"
    assert b"<h1>Connected</h1>" in page.data

    (made,) = (await bench.connections()).connections
    assert (made.user_id, made.provider, made.account, made.state) == ("ada", "oidc", "ada", ACTIVE)
    assert list(made.scopes) == ["openid", "offline_access"]
    assert made.refreshable
    assert (await bench.check()).verified
    access, refresh = await bench.tokens()
    assert await oidc.introspect(issuer, access)

    revoked = await bench.stub.RevokeConnection(pb.RevokeConnectionRequest(user_id="ada", provider="oidc"))
    assert revoked.provider_revoked
    assert not await oidc.introspect(issuer, access)
    assert not await oidc.introspect(issuer, refresh)
    assert not (await bench.connections()).connections
    (completed,) = await bench.told(integration_events_pb2.OAuthCompleted)
    (ended,) = await bench.told(integration_events_pb2.OAuthRevoked)
    assert (completed.user_id, completed.account, ended.user_id, ended.provider_revoked) == ("ada", "ada", "ada", True)


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def test_a_state_works_once_even_at_the_same_moment(bench: Bench) -> None:
    """Eight callbacks with one state: one makes the connection, seven are refused, and none comes later."""
    begun = await bench.authorize()
    request = came_back(await oidc.consent(begun.authorization_url))
    outcomes = await asyncio.gather(*(bench.stub.CompleteOAuth(request) for _ in range(8)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert len(refused) == 7
    late = await refusal(bench.stub.CompleteOAuth(request))
    assert (late.code, late.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_OAUTH_STATE")
    assert len(await bench.told(integration_events_pb2.OAuthCompleted)) == 1


async def test_the_same_request_id_completes_once(bench: Bench) -> None:
    """A program that lost the answer asks again and gets it, although the state is used up."""
    begun = await bench.authorize(request_id=REQUEST_ID)
    assert await bench.authorize(request_id=REQUEST_ID) == begun
    request = came_back(await oidc.consent(begun.authorization_url))
    request.request_id = REQUEST_ID
    assert await bench.stub.CompleteOAuth(request) == await bench.stub.CompleteOAuth(request)
    assert len(await bench.told(integration_events_pb2.OAuthCompleted)) == 1


async def test_an_answer_from_another_issuer_is_refused(bench: Bench) -> None:
    """RFC 9207: this provider sends its issuer, so an answer with another one or with none is not its own."""
    for iss in ("https://evil.example", ""):
        begun = await bench.authorize()
        request = came_back(await oidc.consent(begun.authorization_url))
        request.iss = iss
        refused = await refusal(bench.stub.CompleteOAuth(request))
        assert refused.reason == "INVALID_OAUTH_STATE"
    assert not (await bench.connections()).connections


async def test_a_state_of_another_code_is_refused_by_the_provider(bench: Bench) -> None:
    """PKCE: a code that was made for another authorization does not fit this one's verifier (code injection)."""
    begun = await bench.authorize("ada")
    stolen = came_back(await oidc.consent((await bench.authorize("eve")).authorization_url, "eve"))
    stolen.state = begun.state
    refused = await refusal(bench.stub.CompleteOAuth(stolen))
    assert (refused.reason, refused.metadata["error"]) == ("REMOTE_REFUSED", "invalid_grant")


async def test_a_user_who_says_no_is_told_so(bench: Bench) -> None:
    """The provider's error comes through by its own name, and uses the state up."""
    begun = await bench.authorize()
    request = came_back(await oidc.deny(begun.authorization_url))
    refused = await refusal(bench.stub.CompleteOAuth(request))
    assert (refused.reason, refused.metadata["error"]) == ("REMOTE_REFUSED", "access_denied")
    assert (await refusal(bench.stub.CompleteOAuth(request))).reason == "INVALID_OAUTH_STATE"


async def test_a_state_ends_with_its_time(bench: Bench) -> None:
    """A callback that comes after authorization_age is refused."""
    begun = await bench.authorize()
    request = came_back(await oidc.consent(begun.authorization_url))
    bench.clock.advance(timedelta(minutes=10))
    assert (await refusal(bench.stub.CompleteOAuth(request))).reason == "INVALID_OAUTH_STATE"


async def test_a_callback_with_neither_code_nor_error_leaves_the_state(bench: Bench) -> None:
    """A half request names the field and uses nothing up."""
    begun = await bench.authorize()
    request = came_back(await oidc.consent(begun.authorization_url))
    empty = await refusal(bench.stub.CompleteOAuth(pb.CompleteOAuthRequest(state=request.state)))
    assert (empty.code, empty.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, "code")
    assert (await bench.stub.CompleteOAuth(request)).connection.state == ACTIVE


async def test_a_redirect_address_must_be_allowed_exactly(bench: Bench) -> None:
    """Neither another host nor a longer path passes; the refusal names the setting."""
    for uri in ("https://evil.example/callback", f"{CALLBACK}/x", f"{CALLBACK}?x=1"):
        refused = await refusal(bench.authorize(redirect_uri=uri))
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
        assert "TOOLOO_INTEGRATION_REDIRECT_URIS" in refused.message


async def test_what_is_not_configured_names_its_settings(bench: Bench) -> None:
    """A known provider without credentials says which settings to fill in; the list says the same."""
    refused = await refusal(bench.authorize(provider="github"))
    names = "TOOLOO_INTEGRATION_GITHUB_CLIENT_ID, TOOLOO_INTEGRATION_GITHUB_CLIENT_SECRET"
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")
    assert refused.metadata["settings"] == names
    listed = {entry.provider: entry for entry in (await bench.stub.ListOAuthProviders(pb.ListOAuthProvidersRequest())).providers}
    assert ", ".join(listed["github"].missing_settings) == names
    assert listed["oidc"].configured
    unknown = await refusal(bench.authorize(provider="nobody"))
    assert unknown.code == grpc.StatusCode.INVALID_ARGUMENT


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


async def _revoked(bench: Bench) -> bool:
    return [event.provider_revoked for event in await bench.told(integration_events_pb2.OAuthRevoked)] == [True]


async def test_a_lease_that_a_killed_process_left_ends(bench: Bench) -> None:
    """A process that died while refreshing holds nobody up for longer than the lease."""
    await bench.connect()
    bench.clock.advance(HOUR)
    found = await bench.stored()
    now = bench.clock.now()
    assert await bench.running.host.db.write(lambda tx: store.lease_refresh(tx, found, now, now + timedelta(seconds=30)))
    assert not await bench.running.host.db.write(lambda tx: store.lease_refresh(tx, found, now, now + timedelta(seconds=30)))
    await bench.running.restart()
    bench.clock.advance(timedelta(seconds=31))
    assert (await bench.check()).verified


async def test_a_lease_of_a_clock_that_was_ahead_holds_nobody_up(bench: Bench) -> None:
    """A process that died while refreshing, and a clock that was put right by a day: the next one refreshes."""
    await bench.connect()
    found = await bench.stored()
    ahead = bench.clock.now() + timedelta(days=1)
    assert await bench.running.host.db.write(lambda tx: store.lease_refresh(tx, found, ahead, ahead + timedelta(seconds=30)))
    now = bench.clock.now()
    a_moment_before = now - timedelta(seconds=1)
    for at, taken in ((now, True), (a_moment_before, False)):
        until = at + timedelta(seconds=30)
        assert await bench.running.host.db.write(partial(store.lease_refresh, connection=found, now=at, until=until)) is taken


async def test_a_grant_that_the_user_took_back_lapses(bench: Bench, issuer: str) -> None:
    """Tokens killed at the provider: the connection is LAPSED, says so to whoever uses it, and connecting again mends it."""
    await bench.connect()
    _, refresh = await bench.tokens()
    async with httpx.AsyncClient() as client:
        killed = await client.post(f"{issuer}/token/revocation", data={"token": refresh}, auth=oidc.CREDENTIALS)
    assert killed.status_code == 200
    bench.clock.advance(HOUR)
    checked = await bench.check()
    assert (checked.connection.state, checked.verified) == (LAPSED, False)
    assert (await bench.check()).connection.state == LAPSED, "and stays so"
    await bench.connect()
    assert (await bench.check()).verified


async def test_connections_survive_a_restart_and_stay_apart(bench: Bench) -> None:
    """After a restart the token still opens and works; nobody sees another user's connection."""
    await bench.connect("ada")
    await bench.connect("grace")
    await bench.running.restart()
    assert [made.account for made in (await bench.connections("ada")).connections] == ["ada"]
    assert [made.account for made in (await bench.connections("grace")).connections] == ["grace"]
    assert (await bench.check("grace")).verified
    missing = await refusal(bench.check("eve"))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert from_us(0) < (await bench.connections("ada")).connections[0].create_time.ToDatetime(tzinfo=from_us(0).tzinfo)


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


async def test_authorizations_under_way_have_a_limit(issuer: str, tmp_path: Path) -> None:
    """Beyond the limit a call is refused until old ones end."""
    async with integration(tmp_path, **oidc_settings(issuer), authorization_limit="2") as bench:
        await bench.authorize()
        await bench.authorize()
        refused = await refusal(bench.authorize())
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        bench.clock.advance(timedelta(minutes=10))
        await bench.authorize()


async def test_a_token_that_ended_before_its_time_is_replaced(tmp_path: Path) -> None:
    """The provider no longer takes a token that looks good here: the check refreshes it once and says yes."""
    # the service's clock stands still, so for it the token never ends
    async with (
        oidc.oidc_provider([CALLBACK], access_token_seconds=3) as issuer,
        integration(tmp_path, **oidc_settings(issuer), refresh_skew="0s") as bench,
    ):
        await bench.connect()
        before, _ = await bench.tokens()
        await until(lambda: _dead(issuer, before))
        await bench.check()
        after, _ = await bench.tokens()
        assert after != before
        assert (await bench.connections()).connections[0].state == ACTIVE


async def _dead(issuer: str, token: str) -> bool:
    return not await oidc.introspect(issuer, token)


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


async def test_an_account_without_a_name_is_connected_all_the_same(bench: Bench) -> None:
    """Without openid there is no ID token, and this provider then tells nobody's name."""
    begun = await bench.authorize(scopes=["offline_access"])
    made = (await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url)))).connection
    assert (made.account, made.state) == ("", ACTIVE)


async def test_keys_that_do_not_fit_are_asked_for_again_once(issuer: str, tmp_path: Path) -> None:
    """A provider that has changed its keys is believed after a second look; one whose keys never fit is not."""
    async with httpx.AsyncClient() as client:
        right = (await client.get(f"{issuer}/jwks")).content
    wrong = KeySet([RSAKey.generate_key(2048)]).as_dict(private=False)
    answers = [json.dumps(wrong).encode(), right, json.dumps(wrong).encode()]
    file = tmp_path / "providers.toml"
    with web.serving(lambda seen: Reply(200, answers[min(len(peer.seen), 3) - 1])) as peer:
        lines = [f'[oidc]\ndiscover = true\njwks_uri = "{peer.url}"', f'issuer = "{issuer}"', f'client_id = "{oidc.CLIENT_ID}"']
        await asyncio.to_thread(file.write_text, "\n".join([*lines, 'default_scopes = ["openid"]']))
        async with integration(tmp_path / "data", **oidc_settings(issuer), providers_file=str(file)) as bench:
            assert (await bench.connect("ada")).connection.account == "ada"
            assert len(peer.seen) == 2
            bench.clock.advance(2 * HOUR)
            refused = await refusal(bench.connect("grace"))
            assert (refused.reason, refused.metadata["error"]) == ("REMOTE_REFUSED", "invalid_id_token")
