"""Access tokens that work: refreshed when they have ended, by one process at a time, and never lost on the way."""

import asyncio
import logging
from typing import NoReturn

from mesh import errors
from mesh.host import Host
from mesh.unbroken import Unbroken
from mesh.vault import Vault, VaultError
from services.integration import oauth
from services.integration.connection import LAPSED, Connection
from services.integration.exchange import Refused, RemoteError
from services.integration.flows import refusals
from services.integration.flows.directory import Directory
from services.integration.lease import Lease
from services.integration.oauth import Tokens
from services.integration.remote.outgoing import Outgoing
from services.integration.settings import IntegrationSettings
from services.integration.store import connections as store

log = logging.getLogger(__name__)
_LOOK_AGAIN_SECONDS = 0.05


class TokenKeeper:
    """Gives the tokens of connections for use."""

    def __init__(
        self,
        host: Host,
        settings: IntegrationSettings,
        owner: str,
        vault: Vault,
        directory: Directory,
        outgoing: Outgoing,
        unbroken: Unbroken,
    ) -> None:
        self._host = host
        self._settings = settings
        self._owner = owner
        self._vault = vault
        self._directory = directory
        self._outgoing = outgoing
        self._unbroken = unbroken

    async def find(self, user_id: str, provider: str) -> Connection | None:
        """A user's connection, as it is stored."""
        return await self._host.db.read(lambda tx: store.get_connection(tx, user_id, provider))

    def opened(self, connection: Connection) -> Tokens:
        """The tokens of a connection; FAILED_PRECONDITION when its key is lost: the user has to connect again."""
        try:
            return connection.tokens(self._vault)
        except VaultError as error:
            log.exception("the tokens of %s cannot be opened", connection.place)
            raise refusals.lapsed(connection.user_id, connection.provider) from error

    async def fresh(self, connection: Connection, *, force: bool = False) -> Connection:
        """The connection with a token that has not ended; refreshed first when it has, or when `force` says that it is not taken.

        FAILED_PRECONDITION when only the user can bring it back; UNAVAILABLE when the provider cannot be reached.
        """
        version = connection.version
        for _ in range(max(1, int(self._settings.refresh_lease.total_seconds() / _LOOK_AGAIN_SECONDS))):
            if connection.state == LAPSED:
                raise refusals.lapsed(connection.user_id, connection.provider)
            wanted = force and connection.version == version
            if not wanted and not oauth.needs_refresh(connection.expires, self._host.clock.now(), self._settings.refresh_skew):
                return connection
            if lease := await self._lease(connection):
                return await self._unbroken.run(self._refresh(connection, lease))
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            connection = await self._again(connection)
        raise errors.unavailable(connection.provider, detail="a refresh of the token is under way")

    async def lapse(self, connection: Connection) -> None:
        """Notes that the provider no longer takes the tokens."""
        await self._host.db.write(lambda tx: store.mark_lapsed(tx, connection))

    async def _lease(self, connection: Connection) -> Lease | None:
        now = self._host.clock.now()
        lease = Lease(self._owner, now, now + self._settings.refresh_lease)
        return lease if await self._host.db.write(lambda tx: store.lease_refresh(tx, connection, lease)) else None

    async def _again(self, connection: Connection) -> Connection:
        found = await self.find(connection.user_id, connection.provider)
        if found is None:
            raise errors.not_found("connection", f"{connection.user_id}/{connection.provider}")
        return found

    async def _refresh(self, connection: Connection, lease: Lease) -> Connection:
        """Asks for new tokens and keeps them; whoever calls holds this lease."""
        if not connection.refreshable:
            await self.lapse(connection)
            raise refusals.lapsed(connection.user_id, connection.provider)
        try:
            old = self.opened(connection)
            new = await self._ask(connection, old)
        except (RemoteError, errors.Refusal) as error:
            await self._give_up(connection, lease, error)
        renewed = connection.with_tokens(oauth.refreshed(old, new), self._vault, self._host.clock.now())
        if not await self._host.db.write(lambda tx: store.replace_tokens(tx, renewed)):
            log.warning("the connection %s was changed during its refresh", connection.place)
        return await self._again(connection)

    async def _ask(self, connection: Connection, old: Tokens) -> Tokens:
        provider = await self._directory.get(connection.provider)
        answer = await self._outgoing.send(oauth.refresh(provider, old.refresh_token))
        return oauth.read_tokens(answer, old.scopes, self._host.clock.now())

    async def _give_up(self, connection: Connection, lease: Lease, error: RemoteError | errors.Refusal) -> NoReturn:
        """Ends the lease; a grant that the provider calls dead is dead, anything else may work the next time."""
        if isinstance(error, Refused) and error.code in oauth.DEAD_GRANTS:
            await self.lapse(connection)
            raise refusals.lapsed(connection.user_id, connection.provider) from error
        await self._host.db.write(lambda tx: store.release_refresh(tx, connection, lease))
        if isinstance(error, RemoteError):
            raise refusals.of(connection.provider, error) from error
        raise error
