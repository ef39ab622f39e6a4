"""Where NATS is and what the bus makes there."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from bus.settings import MIB
from mesh.settings import Section, SettingError, setting, usable

# as NATS takes them: of a stream and of a key-value bucket; of a token of subjects
_NAME, _TOKEN = re.compile(r"[A-Za-z0-9_-]+"), re.compile(r"[^\s.*>]+")
_SERVER, _MONITOR = re.compile(r"((nats|tls|wss?)://)?[^\s/:]+\S*"), re.compile(r"https?://[^\s/:]+\S*")


@dataclass(frozen=True)
class NatsSettings(Section):
    """Settings of the bus on NATS JetStream; used when TOOLOO_BUS_WAY is jetstream."""

    section: ClassVar[str] = "bus_nats"

    servers: tuple[str, ...] = setting(("nats://127.0.0.1:4222",), "Addresses of the NATS servers, all of a cluster's.")
    monitors: tuple[str, ...] = setting(
        ("http://127.0.0.1:8222",), "Monitoring addresses of the same servers (http_port): they tell whether every write is synced."
    )
    credentials: Path = setting(Path(), "Credentials file (.creds) of the bus; empty: none.")
    stream: str = setting("tooloo", "Name of the stream that is the log; the bucket of its subscriptions is named after it.")
    prefix: str = setting("tooloo", "First token of the subjects: an event stands under prefix.type.subject.")
    replicas: int = setting(1, "Servers that keep each event: 1, or 3 or 5 in a cluster.", choices=(1, 3, 5))
    unique_count: int = setting(
        100_000, "Of how many of the newest events the (source, id) is remembered; read again at each start.", low=1000
    )
    duplicate_window: timedelta = setting(
        timedelta(seconds=10),
        "NATS's own memory of message ids, beside the bus's: it guards the moment when the bus changes hands.",
    )
    timeout: timedelta = setting(timedelta(seconds=2), "How long one request to NATS may take before it is tried again.")
    boot_timeout: timedelta = setting(
        timedelta(seconds=30),
        "How long a start waits for a cluster that does not answer, has no leader yet, or fewer servers than replicas are wanted.",
    )
    unreachable_after: timedelta = setting(timedelta(seconds=10), "How long NATS may be away before publishes get UNAVAILABLE.")
    ballast_bytes: int = setting(
        2 * MIB, "Room kept back in NATS for acknowledgements when publishes are refused for want of it; 0 keeps none.", low=0
    )
    owner: str = setting("", "Name of this bus among those that share the stream; empty: the host's name.")
    lease: timedelta = setting(
        timedelta(seconds=10), "A bus that has not shown itself for so long is replaced by one of another name that waits."
    )

    def check(self) -> None:
        """SettingError for names, addresses and a file that no connection can be made with."""
        for name, form, wanted in (
            ("stream", _NAME, "letters, digits, - and _"),
            ("prefix", _TOKEN, "one token of a subject, without blanks and . * >"),
        ):
            if not form.fullmatch(getattr(self, name)):
                raise SettingError(f"{self.env_name(name)} is {getattr(self, name)!r}; it must be {wanted}")
        for name, form, example in (("servers", _SERVER, "nats://127.0.0.1:4222"), ("monitors", _MONITOR, "http://127.0.0.1:8222")):
            for address in getattr(self, name):
                if not form.fullmatch(address):
                    raise SettingError(f"{self.env_name(name)} has {address!r}; write addresses such as {example}")
        if self.credentials.name:
            with usable(self.env_name("credentials")):
                self.credentials.read_bytes()
