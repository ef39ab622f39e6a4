"""Journeys share one mesh, and another one that is connected to far ends; both end with the last journey."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.peers import oidc
from tests.peers.github import GithubPeer, github_peer
from tests.peers.slack import BOT_TOKEN, SlackPeer, slack_peer
from tests.support.mesh import Mesh, running_mesh


@dataclass(frozen=True)
class Connected:
    """A mesh whose settings name far ends that are there: an OpenID Connect provider, GitHub and Slack."""

    mesh: Mesh
    issuer: str
    github: GithubPeer
    slack: SlackPeer


@pytest.fixture(scope="package")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A whole mesh, started as `make dev` starts it; users who share it must not disturb each other anyway."""
    with running_mesh(tmp_path_factory.mktemp("mesh") / "var") as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def connected(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Connected]:
    """Another mesh, for the journeys that leave this machine or start it anew; its data folder outlives its restarts."""
    mesh = Mesh(tmp_path_factory.mktemp("connected") / "var")
    callback = f"{mesh.url}/api/v1/oauth/callback"
    with ExitStack() as stack:
        stack.callback(mesh.close)
        github, slack = stack.enter_context(github_peer()), stack.enter_context(slack_peer())
        async with oidc.oidc_provider([callback]) as issuer:
            settings = {
                "redirect_uris": callback,
                "oidc_issuer": issuer,
                "oidc_client_id": oidc.CLIENT_ID,
                "oidc_client_secret": oidc.CLIENT_SECRET,
                "github_api_url": github.url,
                "slack_api_url": slack.api_url,
                "slack_bot_token": BOT_TOKEN,
                "slack_channel": "#team",
            }
            mesh.env |= {f"TOOLOO_INTEGRATION_{name.upper()}": value for name, value in settings.items()}
            mesh.start()
            yield Connected(mesh, issuer, github, slack)
