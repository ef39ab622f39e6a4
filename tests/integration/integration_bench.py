"""The integration service on a bench, for its tests: settings of far ends, a stub, and refusals read back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb
from tooloo.integration.v1.integration_service_pb2_grpc import IntegrationServiceStub

from mesh import errors, keyfile, testing
from mesh.clock import ManualClock
from mesh.vault import Vault
from services.integration.__main__ import build
from services.integration.connection import Connection
from services.integration.store import connections as store
from tests.peers import oidc

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.integration.v1.integration_service_pb2_grpc import IntegrationServiceAsyncStub

CALLBACK = "http://127.0.0.1:3000/api/v1/oauth/callback"
M = TypeVar("M", bound=Message)


class Bench:
    """A running service, its clock, and its calls."""

    def __init__(self, running: testing.Bench, clock: ManualClock) -> None:
        self.running = running
        self.clock = clock

    @property
    def stub(self) -> IntegrationServiceAsyncStub:
        """The service's calls; made anew after a restart."""
        return IntegrationServiceStub(self.running.channel)

    async def stored(self, user: str = "ada", provider: str = "oidc") -> Connection:
        """A user's connection as it is stored."""
        found = await self.running.host.db.read(lambda tx: store.get_connection(tx, user, provider))
        if found is None:
            raise AssertionError(f"{user} is not connected")
        return found

    async def tokens(self, user: str = "ada", provider: str = "oidc") -> tuple[str, str]:
        """The access and the refresh token of a user, opened with the key file as the service does it."""
        vault = Vault([keyfile.load_or_make(self.running.host.data_folder / keyfile.FILE)], os.urandom, "integration")
        opened = (await self.stored(user, provider)).tokens(vault)
        return opened.access_token, opened.refresh_token

    async def told(self, message_type: type[M]) -> list[M]:
        """The events of a type told so far."""
        found = []
        for event in await self.running.told():
            message = message_type()
            if event.data.Unpack(message):
                found.append(message)
        return found

    async def authorize(self, user: str = "ada", provider: str = "oidc", **fields: Any) -> pb.AuthorizeOAuthResponse:
        """Begins to connect an account."""
        return await self.stub.AuthorizeOAuth(pb.AuthorizeOAuthRequest(user_id=user, provider=provider, **fields))

    async def connect(self, user: str = "ada") -> pb.CompleteOAuthResponse:
        """Connects an account at the real provider, with a user who consents."""
        begun = await self.authorize(user)
        return await self.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url, user)))

    async def connections(self, user: str = "ada") -> pb.ListConnectionsResponse:
        """A user's connections."""
        return await self.stub.ListConnections(pb.ListConnectionsRequest(user_id=user))

    async def check(self, user: str = "ada", provider: str = "oidc") -> pb.CheckConnectionResponse:
        """Asks whether a connection works."""
        return await self.stub.CheckConnection(pb.CheckConnectionRequest(user_id=user, provider=provider))


@asynccontextmanager
async def integration(folder: Path, **settings: str) -> AsyncIterator[Bench]:
    """The service on these files; the clock stands at the real time, for real tokens carry it."""
    clock = ManualClock(datetime.now(UTC))
    env = {f"TOOLOO_INTEGRATION_{name.upper()}": value for name, value in settings.items()}
    async with testing.running("integration", build, folder, clock=clock, settings=env) as running:
        yield Bench(running, clock)


def oidc_settings(issuer: str) -> Mapping[str, str]:
    """The settings for the test's provider."""
    return {"oidc_issuer": issuer, "oidc_client_id": oidc.CLIENT_ID, "oidc_client_secret": oidc.CLIENT_SECRET}


def came_back(url: str) -> pb.CompleteOAuthRequest:
    """What the browser brings back, as a program hands it in."""
    return pb.CompleteOAuthRequest(**dict(parse_qsl(urlsplit(url).query)))


def files_with(folder: Path, text: str) -> list[Path]:
    """The files under a folder in which a text stands, databases and their write-ahead logs included."""
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until the condition holds; TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process or in a database
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Refused:
    """A refusal read back: code, reason, message, metadata, and the wait of RetryInfo."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]
    wait: timedelta | None


async def refusal(call: Awaitable[object]) -> Refused:
    """The refusal of a call; AssertionError when it is answered."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        status = errors.from_rpc_error(error)
    else:
        raise AssertionError(f"answered: {answer}")
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    waits = [retry.retry_delay.ToTimedelta() for detail in status.details if detail.Unpack(retry)]
    if not any(detail.Unpack(info) for detail in status.details):
        raise AssertionError(f"a refusal without ErrorInfo: {status}")
    return Refused(errors.code_of(status), info.reason, status.message, dict(info.metadata), waits[0] if waits else None)
