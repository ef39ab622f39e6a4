"""Connecting accounts, with a real OpenID Connect provider at the far end."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import pytest
from joserfc.jwk import KeySet, RSAKey
from tooloo.integration.v1 import connection_pb2, integration_events_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb

from mesh.clock import from_us
from tests.integration.integration_bench import CALLBACK, Bench, came_back, integration, oidc_settings, refusal
from tests.peers import oidc, web
from tests.peers.web import Reply

REQUEST_ID = "0190b5a4-0000-7000-8000-000000000001"
ACTIVE = connection_pb2.CONNECTION_STATE_ACTIVE
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


async def test_authorizations_under_way_have_a_limit(issuer: str, tmp_path: Path) -> None:
    """Beyond the limit a call is refused until old ones end."""
    async with integration(tmp_path, **oidc_settings(issuer), authorization_limit="2") as bench:
        await bench.authorize()
        await bench.authorize()
        refused = await refusal(bench.authorize())
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        bench.clock.advance(timedelta(minutes=10))
        await bench.authorize()


async def test_an_account_without_a_name_is_connected_all_the_same(bench: Bench) -> None:
    """Without openid there is no ID token, and this provider then tells nobody's name."""
    begun = await bench.authorize(scopes=["offline_access"])
    made = (await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url)))).connection
    assert (made.account, made.state) == ("", ACTIVE)


async def test_keys_that_do_not_fit_are_asked_for_again_once(issuer: str, tmp_path: Path) -> None:
    """A provider that has changed its keys is believed after a second look; one whose keys never fit is not."""
    async with httpx.AsyncClient(timeout=60) as client:
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
