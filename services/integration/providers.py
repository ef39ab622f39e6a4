"""OAuth providers as data: a TOML file that everyone may edit, credentials from the settings, and what discovery adds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
REVOCATIONS = {"rfc7009", "github", "slack", "none"}
CLIENT_AUTHS = {"client_secret_basic", "client_secret_post", "none"}
_URLS = ("issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint", "account_endpoint", "jwks_uri")


class ProviderError(ValueError):
    """A provider's configuration or metadata that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Provider:
    """All that is known of a provider. Field names are the keys of its table in the file."""

    name: str
    title: str = ""
    client_id: str = ""
    client_secret: str = ""
    # a public client has no secret and relies on PKCE alone
    secret_needed: bool = True
    # ask {issuer}/.well-known/openid-configuration for the endpoints (OpenID Connect Discovery 1.0)
    discover: bool = False
    issuer: str = ""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    revocation_endpoint: str = ""
    # how to revoke: by RFC 7009, or each in its own way
    revocation: str = "rfc7009"
    # answers with the account when called with the access token
    account_endpoint: str = ""
    # field of that answer which names the account
    account_field: str = "sub"
    jwks_uri: str = ""
    # "" means: what the metadata allows, else client_secret_basic
    client_auth: str = ""
    scope_separator: str = " "
    default_scopes: tuple[str, ...] = ()
    # more parameters of the authorization address, e.g. access_type = "offline"
    parameters: Mapping[str, str] = field(default_factory=dict)
    # the provider says that it sends `iss` (RFC 9207), so an answer without it is not its own
    sends_iss: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the credentials that still have to be filled in."""
        needed = ["client_id"] + ["client_secret"] * self.secret_needed + ["issuer"] * self.discover
        return tuple(name for name in needed if not getattr(self, name))

    @property
    def well_known(self) -> str:
        """Where its metadata stands (OpenID Connect Discovery 1.0 §4)."""
        return self.issuer.rstrip("/") + "/.well-known/openid-configuration"


def read(tables: Mapping[str, Any], credentials: Mapping[str, Mapping[str, str]]) -> dict[str, Provider]:
    """The providers of the file, by name; what the settings give (`credentials[name]`) wins. ProviderError names the mistake."""
    return {name: _read_one(name, tables[name], credentials.get(name, {})) for name in sorted(tables)}


def _read_one(name: str, table: Any, credentials: Mapping[str, str]) -> Provider:
    known = {entry.name for entry in dataclasses.fields(Provider)} - {"name"}
    if not isinstance(table, dict) or (unknown := sorted(set(table) - known)):
        detail = f"no key {unknown[0]!r}" if isinstance(table, dict) else "to be a table"
        raise ProviderError(f"provider {name!r} has {detail}; known keys: {', '.join(sorted(known))}")
    values = {**table, **{key: value for key, value in credentials.items() if value}}
    values["default_scopes"] = tuple(values.get("default_scopes", ()))
    provider = Provider(name=name, **values)
    _check(provider)
    return provider


def _check(provider: Provider) -> None:
    if provider.revocation not in REVOCATIONS:
        raise ProviderError(f"provider {provider.name!r}: revocation is one of {', '.join(sorted(REVOCATIONS))}")
    if provider.client_auth and provider.client_auth not in CLIENT_AUTHS:
        raise ProviderError(f"provider {provider.name!r}: client_auth is one of {', '.join(sorted(CLIENT_AUTHS))}")
    for key in _URLS:
        check_url(f"provider {provider.name!r}: {key}", getattr(provider, key))


def check_url(what: str, url: str, *, required: bool = False) -> None:
    """ProviderError unless the address is empty, https, or http on this machine: tokens never travel in the clear.

    One that is `required` may not be empty.
    """
    if not url and not required:
        return
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ProviderError(f"{what} is no address: {url!r}") from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        raise ProviderError(f"{what} is {url!r}; it must be https (http only on this machine)")


def discovered(provider: Provider, metadata: Mapping[str, Any]) -> Provider:
    """The provider with what its own metadata says (RFC 8414 §2), ProviderError for another's; what the file says wins."""
    if metadata.get("issuer") != provider.issuer:
        raise ProviderError(f"the metadata of {provider.name!r} belongs to {metadata.get('issuer')!r}, not to {provider.issuer!r}")

    def either(ours: str, theirs: str) -> str:
        return ours or str(metadata.get(theirs, ""))

    full = dataclasses.replace(
        provider,
        authorization_endpoint=either(provider.authorization_endpoint, "authorization_endpoint"),
        token_endpoint=either(provider.token_endpoint, "token_endpoint"),
        revocation_endpoint=either(provider.revocation_endpoint, "revocation_endpoint"),
        account_endpoint=either(provider.account_endpoint, "userinfo_endpoint"),
        jwks_uri=either(provider.jwks_uri, "jwks_uri"),
        client_auth=provider.client_auth or _client_auth(provider, metadata),
        sends_iss=provider.sends_iss or metadata.get("authorization_response_iss_parameter_supported") is True,
    )
    if not full.authorization_endpoint or not full.token_endpoint:
        raise ProviderError(f"the metadata of {provider.name!r} names no authorization or no token endpoint")
    _check(full)
    return full


def _client_auth(provider: Provider, metadata: Mapping[str, Any]) -> str:
    if not provider.client_secret:
        return "none"
    offered = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return next((method for method in ("client_secret_basic", "client_secret_post") if method in offered), "client_secret_basic")
