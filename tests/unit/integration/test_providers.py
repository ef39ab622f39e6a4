"""Providers as data: the shipped file reads, mistakes in an own file are named, metadata is taken from the right issuer only."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from services.integration import providers
from services.integration.providers import Provider, ProviderError
from services.integration.settings import IntegrationSettings

ISSUER = "https://id.example"
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/me",
    "jwks_uri": f"{ISSUER}/jwks",
    "authorization_response_iss_parameter_supported": True,
    "token_endpoint_auth_methods_supported": ["client_secret_post"],
}


def shipped(**settings: str) -> dict[str, Provider]:
    """The providers of the shipped file, with these settings."""
    own = IntegrationSettings.load({f"TOOLOO_INTEGRATION_{name.upper()}": value for name, value in settings.items()})
    return providers.read(tomllib.loads(own.providers_file.read_text()), own.credentials())


def test_the_shipped_file_names_what_each_provider_needs() -> None:
    """Four providers, none configured out of the box; filled in, a provider is ready."""
    missing = {name: provider.missing for name, provider in shipped().items()}
    assert missing == {
        "github": ("client_id", "client_secret"),
        "google": ("client_id", "client_secret"),
        "oidc": ("client_id", "issuer"),
        "slack": ("client_id", "client_secret"),
    }
    assert not shipped(github_client_id="a", github_client_secret="b")["github"].missing
    assert not shipped(oidc_client_id="a", oidc_issuer=ISSUER)["oidc"].missing


def test_where_a_credential_is_written_is_told() -> None:
    """The setting's name, or the file for a provider that the settings do not know."""
    settings = IntegrationSettings()
    assert settings.where("github", "client_id") == "TOOLOO_INTEGRATION_GITHUB_CLIENT_ID"
    assert settings.where("corp", "client_id") == "client_id in [corp] of oauth_providers.toml"


def test_settings_win_over_the_file() -> None:
    """A credential of the environment replaces the one of the file; an empty one does not."""
    tables = {"corp": {"client_id": "file", "client_secret": "file"}}
    read = providers.read(tables, {"corp": {"client_id": "environment", "client_secret": ""}})
    assert (read["corp"].client_id, read["corp"].client_secret) == ("environment", "file")


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("text", "table"),
        ({"clientid": "x"}, "clientid"),
        ({"revocation": "maybe"}, "revocation"),
        ({"client_auth": "basic"}, "client_auth"),
        ({"token_endpoint": "http://id.example/token"}, "https"),
        ({"token_endpoint": "ftp://id.example/token"}, "https"),
        ({"token_endpoint": "//id.example/token"}, "https"),
        ({"issuer": "http://[half"}, "address"),
    ],
)
def test_a_mistake_in_the_file_is_named(table: Any, match: str) -> None:
    """With the provider and what would be right."""
    with pytest.raises(ProviderError, match=f"corp.*{match}"):
        providers.read({"corp": table}, {})


def test_metadata_fills_in_what_the_file_left_out() -> None:
    """What the file says wins; iss is then demanded; the client proves itself in a way that the provider takes."""
    provider = Provider(name="p", issuer=ISSUER, discover=True, client_id="a", client_secret="b", jwks_uri=f"{ISSUER}/own")
    full = providers.discovered(provider, METADATA)
    assert (full.token_endpoint, full.account_endpoint, full.jwks_uri) == (f"{ISSUER}/token", f"{ISSUER}/me", f"{ISSUER}/own")
    assert (full.sends_iss, full.client_auth) == (True, "client_secret_post")
    assert providers.discovered(replace(provider, client_secret=""), METADATA).client_auth == "none"
    plain = {name: value for name, value in METADATA.items() if name != "token_endpoint_auth_methods_supported"}
    assert providers.discovered(provider, plain).client_auth == "client_secret_basic"


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": f"{ISSUER}/"},
        {"token_endpoint": ""},
        {"token_endpoint": "http://169.254.169.254/latest"},
        {"jwks_uri": 7},
    ],
)
def test_metadata_of_another_issuer_or_without_tls_is_refused(change: dict[str, object]) -> None:
    """Mix-up (RFC 8414 §3.3), and tokens in the clear."""
    with pytest.raises(ProviderError):
        providers.discovered(Provider(name="p", issuer=ISSUER, discover=True), METADATA | change)


def test_metadata_stands_at_the_well_known_address() -> None:
    """OpenID Connect Discovery §4: after the issuer, whose last slash goes."""
    assert Provider(name="p", issuer=f"{ISSUER}/a/").well_known == f"{ISSUER}/a/.well-known/openid-configuration"
