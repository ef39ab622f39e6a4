"""OAuth: an account is connected through the door at a real OpenID Connect provider, used, and taken back."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import pytest
from tooloo.integration.v1.connection_pb2 import CONNECTION_STATE_ACTIVE
from tooloo.integration.v1.integration_service_pb2 import CheckConnectionRequest, ListConnectionsRequest
from tooloo.integration.v1.integration_service_pb2_grpc import IntegrationServiceStub

from tests.journeys.conftest import Connected
from tests.journeys.steps import get, post, streamed, told
from tests.peers import oidc

USER = "ada.connects"


async def test_an_account_is_connected_used_and_revoked(connected: Connected) -> None:
    """PKCE and state go out, the browser comes back through the door, the connection works, is nobody else's, and ends."""
    mesh = connected.mesh
    completed = asyncio.create_task(streamed(mesh, "oauth.completed", await mesh.head(), userId=USER))
    async with mesh.rest() as client:
        begun = await post(client, "oauth/authorize", {"userId": USER, "provider": "oidc", "scopes": ["openid", "offline_access"]})
        query = parse_qs(urlsplit(begun["authorizationUrl"]).query)
        assert begun["authorizationUrl"].startswith(connected.issuer)
        assert (query["code_challenge_method"], query["state"]) == (["S256"], [begun["state"]])
        back = await oidc.consent(begun["authorizationUrl"], "ada")
        assert back.startswith(f"{mesh.url}/api/v1/oauth/callback?")

        page = await client.get(back)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "<h1>Connected</h1>" in page.text
        again = await client.get(back)
        assert "<h1>Connected</h1>" not in again.text, "a state works once"
        assert (await completed)["data"]["account"] == "ada"
        await told(mesh, "oauth.completed", userId=USER)

        (made,) = (await get(client, "oauth/connections", userId=USER))["connections"]
        assert (made["provider"], made["state"]) == ("oidc", "CONNECTION_STATE_ACTIVE")
        assert (await get(client, "oauth/connections", userId="eve.connects"))["connections"] == []
        await _works_by_grpc(connected)

        assert (await post(client, "oauth/revoke", {"userId": USER, "provider": "oidc"}))["providerRevoked"] is True
        assert (await get(client, "oauth/connections", userId=USER))["connections"] == []
        await told(mesh, "oauth.revoked", userId=USER, providerRevoked=True)


async def _works_by_grpc(connected: Connected) -> None:
    async with connected.mesh.channel("integration") as own_port, connected.mesh.channel() as door:
        checked = await IntegrationServiceStub(own_port).CheckConnection(CheckConnectionRequest(user_id=USER, provider="oidc"))
        assert (checked.verified, checked.connection.state) == (True, CONNECTION_STATE_ACTIVE)
        listed = await IntegrationServiceStub(door).ListConnections(ListConnectionsRequest(user_id=USER))
        assert [connection.account for connection in listed.connections] == ["ada"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await IntegrationServiceStub(own_port).CheckConnection(CheckConnectionRequest(user_id="eve.connects", provider="oidc"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_whoever_says_no_or_makes_up_a_state_connects_nothing(connected: Connected) -> None:
    """The provider's refusal and a forged callback both show a page that says so, and nothing is told."""
    user = "grace.connects"
    async with connected.mesh.rest() as client:
        begun = await post(client, "oauth/authorize", {"userId": user, "provider": "oidc"})
        denied = await client.get(await oidc.deny(begun["authorizationUrl"]))
        forged = await client.get("/api/v1/oauth/callback", params={"state": "made-up", "code": "stolen"})
        for page in (denied, forged):
            assert page.status_code in {httpx.codes.OK, httpx.codes.BAD_REQUEST}
            assert "<h1>Connected</h1>" not in page.text
        assert (await get(client, "oauth/connections", userId=user))["connections"] == []
    assert not [event for event in await connected.mesh.events("oauth.completed") if event["data"]["userId"] == user]
