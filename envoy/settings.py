"""The door's settings: who may call, and every limit, each with a name and a meaning."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from mesh.settings import Section, SettingError, setting, show

KIB = 1024
# what Envoy counts with
UINT32 = 2**32 - 1
# a call of the door ends so much earlier than its service is told, and must be longer than that
_SHORTEST_CALL_S = 1
_HOST = re.compile(r"\*|(\*\.)?[^\s/:*]+|\[[0-9a-fA-F:.]+\]")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/]+")
MIB = 1024 * KIB


@dataclass(frozen=True)
class DoorSettings(Section):
    """What the door lets in, how much and for how long; defaults follow Envoy's guide for edge proxies where it names a value."""

    section: ClassVar[str] = "door"

    hosts: tuple[str, ...] = setting(
        ("localhost", "127.0.0.1", "[::1]"),
        "Host names callers may use, so that a foreign page cannot reach the door by DNS rebinding; `*` allows any. Those of this"
        " machine (localhost and the address that is listened on) always may, but for writes of pages.",
    )
    origins: tuple[str, ...] = setting(
        (), "Origins of other web pages that may call, e.g. http://localhost:5173; pages of the door itself always may."
    )
    concurrency: int = setting(1, "Worker threads of Envoy.", low=1, high=64)
    max_request_bytes: int = setting(4 * MIB, "Largest body of a REST request.", low=KIB, high=UINT32)
    max_response_bytes: int = setting(16 * MIB, "Largest body of a REST response.", low=KIB, high=UINT32)
    max_header_kib: int = setting(32, "Largest sum of a request's headers, in KiB.", low=8, high=8192)
    max_headers: int = setting(100, "Most headers of a request.", low=20, high=1000)
    max_connections: int = setting(4096, "Connections of callers at a time, over all ports.", low=16, high=UINT32)
    max_streams: int = setting(256, "Calls at a time over one HTTP/2 connection.", low=1, high=UINT32)
    max_calls: int = setting(1024, "Calls at a time to one service; more are refused with 503.", low=1, high=UINT32)
    max_heap_mib: int = setting(1024, "Memory at which Envoy refuses new requests instead of growing.", low=128, high=UINT32)
    buffer_bytes: int = setting(32 * KIB, "Buffer of a connection before the sender is slowed down.", low=4 * KIB, high=UINT32)
    headers_timeout: timedelta = setting(timedelta(seconds=10), "How long a caller may take to send a request's headers.")
    idle_timeout: timedelta = setting(timedelta(minutes=60), "How long a connection may stand without any call.")
    stream_idle_timeout: timedelta = setting(
        timedelta(minutes=5), "How long a unary call may stand without a byte either way; streams of events are exempt."
    )
    call_timeout: timedelta = setting(
        timedelta(seconds=30),
        "Deadline of a unary call that brings none (header grpc-timeout) and whose request has no `timeout`.",
        low=_SHORTEST_CALL_S,
    )
    longest_call: timedelta = setting(timedelta(minutes=10), "Longest deadline a unary call may bring.", low=_SHORTEST_CALL_S)
    connect_timeout: timedelta = setting(timedelta(milliseconds=250), "How long a connection to a service may take.")
    retries: int = setting(12, "Times a call that did not reach its service is tried again.", low=0, high=50)
    retry_pause: timedelta = setting(timedelta(milliseconds=100), "First pause before trying again; it doubles, with jitter.")
    retry_pause_limit: timedelta = setting(timedelta(milliseconds=500), "Longest pause before trying again.")
    retry_budget_percent: int = setting(50, "Share of the calls to one service that may be repeats.", low=1, high=100)
    retry_budget_least: int = setting(100, "Repeats that are always allowed, whatever the share.", low=1, high=UINT32)
    keepalive: timedelta = setting(
        timedelta(seconds=5), "How often, and for how long, the door waits for a sign of life of a service."
    )

    def check(self) -> None:
        """SettingError for a door that would answer nobody, and for what Envoy refuses or could never match."""
        if not self.hosts or len(set(self.hosts)) < len(self.hosts):
            raise SettingError(f"{self.env_name('hosts')} must hold a host name, and each but once; `*` allows any")
        for name, form, wanted in (
            ("hosts", _HOST, "a host name without scheme and port, e.g. tooloo.example.org, *.example.org or [::1]"),
            ("origins", _ORIGIN, "an origin, scheme and host without a path, e.g. http://localhost:5173"),
        ):
            for value in getattr(self, name):
                if not form.fullmatch(value):
                    raise SettingError(f"{self.env_name(name)} has {value!r}; write {wanted}")
        if self.retry_pause > self.retry_pause_limit:
            names = f"{self.env_name('retry_pause')} is longer than {self.env_name('retry_pause_limit')}"
            raise SettingError(f"{names}: {show(self.retry_pause)} and {show(self.retry_pause_limit)}")


def seconds(value: timedelta) -> str:
    """A length of time as Envoy's JSON writes it, e.g. "0.250s"."""
    return f"{value.total_seconds():.3f}s"
