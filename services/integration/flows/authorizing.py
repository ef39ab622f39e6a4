"""Connecting an account: sends the user's browser to the provider, and makes a connection of what it comes back with."""

import logging
import os

from tooloo.integration.v1 import integration_service_pb2 as pb

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from mesh.vault import Vault, VaultError
from services.integration import connection as connections
from services.integration import events, id_token, oauth, wire
from services.integration.connection import Authorization, Connection
from services.integration.exchange import OK, Refused, RemoteError
from services.integration.flows import refusals
from services.integration.flows.alone import Alone
from services.integration.flows.directory import Directory
from services.integration.id_token import IdTokenError
from services.integration.oauth import Tokens
from services.integration.providers import Provider
from services.integration.remote.outgoing import Outgoing
from services.integration.settings import IntegrationSettings
from services.integration.store import connections as store
from services.integration.store import pauses

log = logging.getLogger(__name__)


class Authorizing:
    """The two halves of OAuth's authorization code grant."""

    def __init__(
        self,
        host: Host,
        settings: IntegrationSettings,
        vault: Vault,
        directory: Directory,
        outgoing: Outgoing,
        alone: Alone,
    ) -> None:
        self._host = host
        self._settings = settings
        self._vault = vault
        self._directory = directory
        self._outgoing = outgoing
        self._alone = alone

    async def begin(self, request: pb.AuthorizeOAuthRequest) -> pb.AuthorizeOAuthResponse:
        """Where the browser has to go; the state that comes back is kept with its encrypted code verifier."""
        known = await self._host.answered(request, pb.AuthorizeOAuthResponse)
        if known:
            return known
        provider = await self._directory.get(request.provider)
        redirect_uri = self._redirect_uri(request.redirect_uri)
        scopes = tuple(request.scopes) or provider.default_scopes

        async def effect(tx: Transaction) -> pb.AuthorizeOAuthResponse:
            await self._make_room(tx)
            verifier = oauth.new_secret(os.urandom)
            authorization = self._authorization(request, redirect_uri, scopes, verifier)
            await store.insert_authorization(tx, authorization)
            url = oauth.authorization_url(
                provider,
                redirect_uri=redirect_uri,
                scopes=scopes,
                state=authorization.state,
                verifier=verifier,
                nonce=authorization.nonce,
            )
            expires = wire.timestamp(authorization.expires)
            return pb.AuthorizeOAuthResponse(authorization_url=url, state=authorization.state, expire_time=expires)

        return await self._host.once(request, pb.AuthorizeOAuthResponse, effect)

    def _redirect_uri(self, asked: str) -> str:
        allowed = self._settings.callbacks(self._host.settings.door_port)
        if not asked:
            return allowed[0]
        if asked not in allowed:
            name = self._settings.env_name("redirect_uris")
            raise errors.invalid("redirect_uri", f"not allowed here; {name} allows: {', '.join(allowed)}")
        return asked

    async def _make_room(self, tx: Transaction) -> None:
        await store.forget_authorizations(tx, self._host.clock.now())
        limit = self._settings.authorization_limit
        if await store.count_authorizations(tx) >= limit:
            name = self._settings.env_name("authorization_limit")
            detail = f"{limit} authorizations are under way already"
            raise errors.exhausted(name, detail, retry_after=self._settings.authorization_age)

    def _authorization(
        self, request: pb.AuthorizeOAuthRequest, redirect_uri: str, scopes: tuple[str, ...], verifier: str
    ) -> Authorization:
        state = oauth.new_secret(os.urandom)
        place = connections.verifier_place(state, request.user_id, request.provider)
        return Authorization(
            state=state,
            user_id=request.user_id,
            provider=request.provider,
            redirect_uri=redirect_uri,
            scopes=scopes,
            nonce=oauth.new_secret(os.urandom),
            verifier=self._vault.seal(verifier.encode(), place),
            expires=self._host.clock.now() + self._settings.authorization_age,
        )

    async def complete(self, request: pb.CompleteOAuthRequest) -> pb.CompleteOAuthResponse:
        """Makes a connection of what the browser came back with. The state is used up, whatever comes of it."""
        return await self._alone.run(request, pb.CompleteOAuthResponse, lambda: self._complete(request))

    async def _complete(self, request: pb.CompleteOAuthRequest) -> pb.CompleteOAuthResponse:
        if not request.code and not request.error:
            raise errors.invalid("code", "neither a code nor an error came back from the provider")
        authorization = await self._take(request.state)
        provider = await self._directory.get(authorization.provider)
        if not oauth.issuer_fits(provider, request.iss):
            raise refusals.invalid_state(f"the answer does not come from {provider.name} (iss is {request.iss!r})")
        try:
            if request.error:
                raise Refused(OK, request.error, request.error_description[:300])
            tokens = await self._exchange(provider, authorization, request.code)
        except RemoteError as error:
            raise refusals.of(provider.name, error) from error
        made = connections.new(authorization.user_id, provider.name, tokens, self._vault, self._host.clock.now())
        return await self._host.once(request, pb.CompleteOAuthResponse, lambda tx: self._keep(tx, made))

    async def _take(self, state: str) -> Authorization:
        """The authorization of a state, at most once: whoever comes second is refused, at the same moment or later."""
        found = await self._host.db.write(lambda tx: store.take_authorization(tx, state))
        if found is None or found.expires <= self._host.clock.now():
            raise refusals.invalid_state("the state is unknown, used already or too old")
        return found

    async def _exchange(self, provider: Provider, authorization: Authorization, code: str) -> Tokens:
        try:
            verifier = self._vault.open(authorization.verifier, authorization.place).decode()
        except VaultError as error:
            raise refusals.invalid_state("the key that sealed the code verifier is gone") from error
        call = oauth.exchange(provider, code=code, redirect_uri=authorization.redirect_uri, verifier=verifier)
        tokens = oauth.read_tokens(await self._outgoing.send(call), authorization.scopes, self._host.clock.now())
        account = await self._account(provider, tokens, authorization.nonce)
        return oauth.of_account(tokens, account)

    async def _account(self, provider: Provider, tokens: Tokens, nonce: str) -> str:
        """Whose tokens they are: from the ID token when there is one, else asked; "" when the provider does not say."""
        if tokens.id_token and provider.jwks_uri:
            claims = await self._claims(provider, tokens.id_token, nonce)
            return oauth.account_in(provider, claims)
        if not provider.account_endpoint:
            return tokens.account
        try:
            answer = await self._outgoing.send(oauth.account(provider, tokens.access_token))
            return oauth.read_account(provider, answer, self._host.clock.now())
        except RemoteError as error:
            # the connection works without a name to show
            log.warning("%s did not say whose account it is: %s", provider.name, error)
            return tokens.account

    async def _claims(self, provider: Provider, token: str, nonce: str) -> dict[str, object]:
        """The claims of a good ID token; keys are asked for again when they do not fit, for providers change them."""
        try:
            return await self._verify(provider, token, nonce)
        except IdTokenError:
            self._directory.forget_keys(provider)
        try:
            return await self._verify(provider, token, nonce)
        except IdTokenError as error:
            raise Refused(OK, "invalid_id_token", str(error)) from error

    async def _verify(self, provider: Provider, token: str, nonce: str) -> dict[str, object]:
        keys = await self._directory.keys(provider)
        now = self._host.clock.now()
        return id_token.verify(token, keys, issuer=provider.issuer, client_id=provider.client_id, nonce=nonce, now=now)

    async def _keep(self, tx: Transaction, made: Connection) -> pb.CompleteOAuthResponse:
        kept = wire.connection(await store.put_connection(tx, made))
        await pauses.forget_pause(tx, made.provider, made.user_id)
        await self._host.tell(tx, events.oauth_completed(kept))
        return pb.CompleteOAuthResponse(connection=kept)
