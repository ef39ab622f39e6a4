"""A user's connection and an authorization under way, as values; their secrets are sealed."""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from mesh.vault import Sealed, Vault
from services.integration.oauth import Tokens

ACTIVE, LAPSED = "active", "lapsed"


@dataclass(frozen=True)
class Authorization:
    """What was asked for when the browser was sent to the provider. The state is the key that comes back."""

    state: str
    user_id: str
    provider: str
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str
    verifier: Sealed
    expires: datetime

    @property
    def place(self) -> str:
        """Where its verifier belongs, for the vault."""
        return verifier_place(self.state, self.user_id, self.provider)


@dataclass(frozen=True)
class Connection:
    """A user's account at a provider. `version` grows with every change of the tokens."""

    user_id: str
    provider: str
    account: str
    scopes: tuple[str, ...]
    state: str
    secret: Sealed
    refreshable: bool
    expires: datetime | None
    version: int
    created: datetime
    updated: datetime

    @property
    def place(self) -> str:
        """Where its tokens belong, for the vault."""
        return f"tokens/{self.user_id}/{self.provider}"

    def tokens(self, vault: Vault) -> Tokens:
        """The tokens, opened; VaultError when that cannot be."""
        opened = json.loads(vault.open(self.secret, self.place))
        return Tokens(**opened, scopes=self.scopes, expires=self.expires, account=self.account)

    def with_tokens(self, tokens: Tokens, vault: Vault, now: datetime) -> "Connection":
        """The connection with new tokens, sealed. An ID token has done its work and is not kept."""
        secret = json.dumps({"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}).encode()
        return replace(
            self,
            account=tokens.account or self.account,
            scopes=tokens.scopes,
            state=ACTIVE,
            secret=vault.seal(secret, self.place),
            refreshable=bool(tokens.refresh_token),
            expires=tokens.expires,
            updated=now,
        )

    def resealed(self, vault: Vault) -> "Connection":
        """The same connection, sealed under the vault's current key."""
        return replace(self, secret=vault.seal(vault.open(self.secret, self.place), self.place))


_NOTHING = Sealed("", b"")


def new(user_id: str, provider: str, tokens: Tokens, vault: Vault, now: datetime) -> Connection:
    """A connection as it begins."""
    empty = Connection(user_id, provider, "", (), ACTIVE, _NOTHING, False, None, 1, now, now)
    return empty.with_tokens(tokens, vault, now)


def verifier_place(state: str, user_id: str, provider: str) -> str:
    """Where a code verifier belongs, for the vault."""
    return f"verifier/{state}/{user_id}/{provider}"
