"""Caring for connections: asking the provider whether one still works, and ending it there and here."""

from collections.abc import Sequence

from tooloo.integration.v1 import integration_service_pb2 as pb

from mesh import errors
from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.integration import events, oauth, wire
from services.integration.connection import LAPSED, Connection
from services.integration.exchange import UNAUTHORIZED, Call, Refused, RemoteError
from services.integration.flows import refusals
from services.integration.flows.alone import Alone
from services.integration.flows.directory import Directory
from services.integration.flows.tokens import TokenKeeper
from services.integration.providers import Provider
from services.integration.remote.outgoing import Outgoing
from services.integration.slack import DEAD_TOKEN
from services.integration.store import connections as store
from services.integration.store import github as github_store


class Caring:
    """Checks and revokes connections."""

    def __init__(self, host: Host, directory: Directory, keeper: TokenKeeper, outgoing: Outgoing, alone: Alone) -> None:
        self._host = host
        self._directory = directory
        self._keeper = keeper
        self._outgoing = outgoing
        self._alone = alone

    async def check(self, request: pb.CheckConnectionRequest) -> pb.CheckConnectionResponse:
        """Asks the provider with the token itself, after a refresh when that is due or when it is not taken."""
        known = await self._host.answered(request, pb.CheckConnectionResponse)
        if known:
            return known
        connection = await self._find(request.user_id, request.provider)
        provider = await self._directory.get(connection.provider)
        try:
            verified = await self._verify(provider, connection)
        except Refusal:
            # a connection that only the user can bring back is an answer here; any other refusal is one there too
            if (await self._find(request.user_id, request.provider)).state != LAPSED:
                raise
            verified = False
        connection = await self._find(request.user_id, request.provider)
        response = pb.CheckConnectionResponse(connection=wire.connection(connection), verified=verified)

        async def effect(_: Transaction) -> pb.CheckConnectionResponse:
            return response

        return await self._host.once(request, pb.CheckConnectionResponse, effect)

    async def _find(self, user_id: str, provider: str) -> Connection:
        connection = await self._keeper.find(user_id, provider)
        if connection is None:
            raise errors.not_found("connection", f"{user_id}/{provider}")
        return connection

    async def _verify(self, provider: Provider, connection: Connection) -> bool:
        """True when the provider takes the token, False when it offers nothing to ask."""
        connection = await self._keeper.fresh(connection)
        if not provider.account_endpoint:
            return False
        if await self._taken(provider, connection):
            return True
        connection = await self._keeper.fresh(connection, force=True)
        if await self._taken(provider, connection):
            return True
        await self._keeper.lapse(connection)
        raise refusals.lapsed(connection.user_id, connection.provider)

    async def _taken(self, provider: Provider, connection: Connection) -> bool:
        tokens = self._keeper.opened(connection)
        try:
            answer = await self._outgoing.send(oauth.account(provider, tokens.access_token))
            oauth.read_account(provider, answer, self._host.clock.now())
        except Refused as error:
            if error.status == UNAUTHORIZED or error.code in DEAD_TOKEN:
                return False
            raise refusals.of(provider.name, error) from error
        except RemoteError as error:
            raise refusals.of(provider.name, error) from error
        return True

    async def revoke(self, request: pb.RevokeConnectionRequest) -> pb.RevokeConnectionResponse:
        """Kills the tokens at the provider first: forgotten here first, they could no longer be killed there."""
        return await self._alone.run(request, pb.RevokeConnectionResponse, lambda: self._revoke(request))

    async def _revoke(self, request: pb.RevokeConnectionRequest) -> pb.RevokeConnectionResponse:
        connection = await self._find(request.user_id, request.provider)
        try:
            confirmed = await self._revoke_there(connection)
        except Refusal:
            if not request.forget_anyway:
                raise
            confirmed = False

        async def effect(tx: Transaction) -> pb.RevokeConnectionResponse:
            if not await store.delete_connection(tx, connection):
                raise errors.aborted("the connection was changed meanwhile; look at it and revoke again")
            await github_store.forget_answers(tx, request.user_id)
            await self._host.tell(tx, events.oauth_revoked(wire.connection(connection), provider_revoked=confirmed))
            return pb.RevokeConnectionResponse(provider_revoked=confirmed)

        return await self._host.once(request, pb.RevokeConnectionResponse, effect)

    async def _revoke_there(self, connection: Connection) -> bool:
        provider = await self._directory.get(connection.provider)
        calls = oauth.revocations(provider, self._keeper.opened(connection))
        try:
            await self._send_all(provider, calls)
        except RemoteError as error:
            raise refusals.of(provider.name, error) from error
        return bool(calls)

    async def _send_all(self, provider: Provider, calls: Sequence[Call]) -> None:
        for call in calls:
            oauth.check_revoked(provider, await self._outgoing.send(call), self._host.clock.now())
