"""Where NATS is and what the bus makes there."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from bus.settings import MIB
from mesh.settings import Section, setting


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
    replicas: int = setting(1, "Servers that keep each event: 1, or 3 or 5 in a cluster.", low=1, high=5)
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
