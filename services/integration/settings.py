"""Settings of the integration service."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from mesh import vault
from mesh.settings import Section, SettingError, setting, usable
from services.integration import notification, providers
from services.integration.notification import Rule
from services.integration.providers import Provider, check_url

HERE = Path(__file__).parent
_CALLBACK = "/api/v1/oauth/callback"


@dataclass(frozen=True)
class IntegrationSettings(Section):
    """Other systems: their addresses, our credentials there, and our limits."""

    section: ClassVar[str] = "integration"

    providers_file: Path = setting(HERE / "oauth_providers.toml", "TOML file of the OAuth providers.")
    redirect_uris: tuple[str, ...] = setting(
        (),
        "Addresses that a provider may send a browser back to, exactly; the first one is taken when a call names none."
        " Empty: the callback of this mesh on this machine, http://127.0.0.1:<door_port>/api/v1/oauth/callback, and on localhost.",
    )
    authorization_age: timedelta = setting(timedelta(minutes=10), "How long a user may take to consent.")
    authorization_limit: int = setting(10_000, "Most authorizations that may be under way.", low=1)
    refresh_skew: timedelta = setting(timedelta(seconds=30), "A token that ends this soon is refreshed before it is used.", low=0)
    refresh_lease: timedelta = setting(timedelta(seconds=30), "Longest time that others wait for a refresh under way.")
    metadata_age: timedelta = setting(timedelta(hours=1), "How long a provider's metadata and keys are kept in memory.", low=0)
    github_client_id: str = setting("", "Client id of the OAuth app at GitHub.")
    github_client_secret: str = setting("", "Its client secret.", secret=True)
    google_client_id: str = setting("", "Client id of the OAuth client at Google.")
    google_client_secret: str = setting("", "Its client secret.", secret=True)
    slack_client_id: str = setting("", "Client id of the app at Slack.")
    slack_client_secret: str = setting("", "Its client secret.", secret=True)
    oidc_issuer: str = setting("", "Issuer of the OpenID Connect provider named `oidc`, e.g. https://id.example.org.")
    oidc_client_id: str = setting("", "Client id there.")
    oidc_client_secret: str = setting("", "Client secret there; empty for a public client.", secret=True)
    encryption_key: str = setting(
        "", "Key that tokens are encrypted with: base64 of 32 bytes. Empty: a key file made at the first start.", secret=True
    )
    encryption_old_keys: tuple[str, ...] = setting(
        (), "Keys that were used before; what they encrypted is encrypted anew at start.", secret=True
    )
    github_api_url: str = setting("https://api.github.com", "Address of GitHub's REST API, e.g. of an Enterprise Server.")
    github_token: str = setting("", "Token for repositories that are read for no user.", secret=True)
    github_tree_limit: int = setting(2_000, "Most files kept of a repository's tree.", low=1, high=20_000)
    github_branches_limit: int = setting(100, "Most branches kept.", low=1, high=100)
    github_commits_limit: int = setting(20, "Most commits kept.", low=1, high=100)
    github_cache_entries: int = setting(2_000, "Most GitHub answers kept for conditional requests.", low=1)
    slack_api_url: str = setting("https://slack.com/api", "Address of Slack's Web API.")
    slack_bot_token: str = setting("", "Bot token (xoxb-…) for messages that no user's connection sends.", secret=True)
    slack_webhook_url: str = setting("", "Incoming webhook to use when there is no bot token.", secret=True)
    slack_channel: str = setting("", "Channel for notifications of events; empty for none.")
    notifications_file: Path = setting(HERE / "notifications.toml", "TOML file of the events that become notifications.")
    notify_attempts: int = setting(8, "Times that a notification is tried.", low=1, high=100)
    notify_backoff: timedelta = setting(timedelta(seconds=2), "Wait after the first failed try; doubled each time.", low=0)
    notify_backoff_cap: timedelta = setting(timedelta(minutes=10), "Longest such wait.", low=0)
    notify_lease: timedelta = setting(
        timedelta(seconds=30),
        "After this silence of a process that was sending a notification another one sends it; longer than a try takes.",
    )
    call_lease: timedelta = setting(
        timedelta(seconds=10),
        "After this silence of a process that was asking another system for a call, a repeat asks again.",
    )
    notify_queue: int = setting(1_000, "Most notifications that may wait; what comes then is dropped and logged.", low=1)
    notify_poll: timedelta = setting(timedelta(seconds=5), "How often the queue is looked at when nothing wakes it.")
    slack_history: int = setting(10_000, "Most messages kept after they were sent or given up.", low=1)
    timeout: timedelta = setting(timedelta(seconds=10), "Longest time for one call to another system.")
    answer_bytes: int = setting(32 * 1024 * 1024, "Largest answer taken from another system.", low=1024)

    def credentials(self) -> Mapping[str, Mapping[str, str]]:
        """What these settings hold for providers: provider name to key to value."""
        return {
            "github": {"client_id": self.github_client_id, "client_secret": self.github_client_secret},
            "google": {"client_id": self.google_client_id, "client_secret": self.google_client_secret},
            "slack": {"client_id": self.slack_client_id, "client_secret": self.slack_client_secret},
            "oidc": {
                "issuer": self.oidc_issuer,
                "client_id": self.oidc_client_id,
                "client_secret": self.oidc_client_secret,
            },
        }

    def check(self) -> None:
        """SettingError unless every address is https, or on this machine, and keys and files can be used."""
        for name in ("github_api_url", "slack_api_url", "oidc_issuer"):
            with usable(self.env_name(name)):
                check_url("the address", getattr(self, name), required=name != "oidc_issuer")
        with usable(self.env_name("redirect_uris")):
            for uri in self.redirect_uris:
                if not urlsplit(uri).scheme or any(map(str.isspace, uri)):
                    raise ValueError(f"{uri!r} is no address that a browser can be sent back to; write it whole, with https://")
        self._check_secrets()
        self.rules()
        self.providers()

    def _check_secrets(self) -> None:
        """As check; what is wrong with a secret is told without it."""
        try:
            check_url("", self.slack_webhook_url)
        except ValueError:
            raise SettingError(f"{self.env_name('slack_webhook_url')}: it must be an https address, which it is not") from None
        for name in ("encryption_key", "encryption_old_keys"):
            value = getattr(self, name)
            with usable(self.env_name(name)):
                for key in [value] if isinstance(value, str) else value:
                    _ = key and vault.read_key(key)

    def rules(self) -> list[Rule]:
        """Which events become notifications, from the file."""
        with usable(self.env_name("notifications_file"), self.notifications_file):
            return notification.read(_toml(self.notifications_file))

    def providers(self) -> dict[str, Provider]:
        """The OAuth providers of the file, with what these settings hold for them."""
        with usable(self.env_name("providers_file"), self.providers_file):
            return providers.read(_toml(self.providers_file), self.credentials())

    def callbacks(self, door_port: int) -> tuple[str, ...]:
        """The addresses that a provider may send a browser back to."""
        return self.redirect_uris or tuple(f"http://{host}:{door_port}{_CALLBACK}" for host in ("127.0.0.1", "localhost"))

    def where(self, provider: str, key: str) -> str:
        """Where a provider's credential is written: the setting's name, or the place in the providers file."""
        if key in self.credentials().get(provider, {}):
            return self.env_name(f"{provider}_{key}")
        return f"{key} in [{provider}] of {self.providers_file.name}"


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())
