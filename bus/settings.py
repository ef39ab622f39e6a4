"""Every limit of the bus, by name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from tooloo.bus.v1.subscription_pb2 import EventFilter

from mesh.rules import of_field
from mesh.settings import Section, SettingError, duration, setting, usable

MIB = 1024 * 1024
# as in a filter of the contract: what another one says is the type of no event
_TYPES = of_field(EventFilter.DESCRIPTOR.fields_by_name["types"]).repeated.items.string


def retention_of_types(rules: Iterable[str]) -> list[tuple[str, timedelta]]:
    """The rules of `retention_types` as (pattern, age); SettingError for one that cannot be read."""
    found = []
    for rule in rules:
        pattern, equals, age = rule.partition("=")
        try:
            if not (pattern and equals):
                raise ValueError("write TYPE=AGE")  # noqa: TRY301 - one wording for both ways to be wrong
            _check_types(pattern)
            found.append((pattern, duration(age)))
        except ValueError as error:
            raise SettingError(f"{BusSettings.env_name('retention_types')} has {rule!r}: {error}") from error
    return found


def _check_types(pattern: str) -> None:
    """ValueError for what is no type, nor the beginning of some."""
    if len(pattern) > _TYPES.max_len or not re.search(_TYPES.pattern, pattern):
        raise ValueError(f'{pattern!r} names no types; write one, e.g. metric.logged, or the beginning of some, e.g. "dag.*"')


@dataclass(frozen=True)
class BusSettings(Section):
    """Settings of the event bus."""

    section: ClassVar[str] = "bus"

    way: str = setting(
        "sqlite", "What the log stands on: sqlite (a file), or jetstream (see bus_nats).", choices=("sqlite", "jetstream")
    )
    max_event_bytes: int = setting(256 * 1024, "Largest event in bytes; a larger one is refused.", low=1024)
    coalesce_bytes: int = setting(64 * 1024, "Publishes that wait together are stored as one record up to this many bytes.", low=1)
    inline_commit: timedelta = setting(
        timedelta(microseconds=600),
        "Commits that take less on average happen in the loop's own thread; 0s: never. A slower disk gets a thread of its own.",
        low=0,
    )
    ballast_bytes: int = setting(
        64 * MIB,
        "Most space kept back for acknowledgements, retention and checkpoints when the disk is full; never more than a sixteenth "
        "of the disk, nor than the log itself takes.",
        low=0,
    )
    commit_batch: int = setting(512, "Writes that may share one commit.", low=1)
    write_queue: int = setting(8192, "Writes that may wait for the disk; more are refused with RESOURCE_EXHAUSTED.", low=1)
    unique_age: timedelta = setting(
        timedelta(days=7), "How long the (source, id) of an event is remembered to refuse repeats.", low=0
    )
    unique_count: int = setting(1_000_000, "Of how many of the newest events the (source, id) is remembered.", low=1000)
    retention_age: timedelta = setting(timedelta(0), "Events older than this are deleted; 0s keeps them for ever.", low=0)
    retention_bytes: int = setting(0, "The oldest events are deleted while the log holds more bytes; 0 keeps all.", low=0)
    retention_count: int = setting(0, "The oldest events are deleted while the log holds more than this; 0 keeps all.", low=0)
    retention_types: tuple[str, ...] = setting(
        (), "Types whose events are deleted earlier than others, e.g. metric.logged=7d,dag.*=30d; their neighbours stay."
    )
    compact_types: tuple[str, ...] = setting(
        (), "Types of which only the newest event of each subject is kept, e.g. mastery.changed,health.*."
    )
    compact_after: timedelta = setting(timedelta(days=1), "Only events older than this are compacted away.", low=0)
    compact_subjects: int = setting(
        1_000_000, "How many pairs of type and subject one compaction may hold in memory; it looks no further back.", low=1
    )
    upkeep_interval: timedelta = setting(timedelta(minutes=1), "How often retention and the uniqueness window are applied.")
    checkpoint_interval: timedelta = setting(
        timedelta(milliseconds=500), "How often the write-ahead log is moved into the database; under load more often."
    )
    wal_limit_bytes: int = setting(64 * MIB, "The write-ahead log file is cut back when it is larger than this.", low=MIB)
    stream_bytes: int = setting(
        8 * MIB,
        "Publishes of one stream that may wait for the disk, in bytes; then it is not read until some are stored.",
        low=1024,
    )
    recent_bytes: int = setting(
        16 * MIB, "Newest events held in memory for live followers; who lags behind them reads the disk.", low=1
    )
    written_bytes: int = setting(
        MIB,
        "Newest events held as they were written for streams over HTTP: many followers want them at once; 0: none.",
        low=0,
    )
    read_threads: int = setting(2, "Threads that read the disk.", low=1, high=64)
    mmap_bytes: int = setting(1024 * MIB, "How much of the file readers map into memory instead of copying it; 0: nothing.", low=0)
    read_bytes: int = setting(512 * 1024, "Events read from the disk at a time, in bytes.", low=1024)
    read_ahead: int = setting(16, "Readers that lag for which the next part is read while the last one is sent; 0: none.", low=0)
    scan_bytes: int = setting(
        32 * MIB, "Events looked through at a time for a filter that matches few of them, in bytes.", low=1024
    )
    message_bytes: int = setting(
        512 * 1024, "A delivery is filled up to this many bytes: a larger publish comes in several, a larger event alone.", low=1024
    )
    message_events: int = setting(2000, "A delivery holds at most this many events.", low=1, high=100_000)
    heartbeat: timedelta = setting(timedelta(seconds=5), "Longest silence of a stream that asked for no other.")
    shortest_heartbeat: timedelta = setting(
        timedelta(milliseconds=10),
        "A stream that asks for a shorter silence gets this one: a sign of life is work.",
    )
    sse_linger: timedelta = setting(
        timedelta(milliseconds=50),
        "How long events gather for a stream over HTTP that was just sent some; after a rest none do.",
        low=0,
    )
    max_followers: int = setting(20_000, "Followers at a time; more are refused with RESOURCE_EXHAUSTED.", low=1, high=1_000_000)
    max_subscriptions: int = setting(1000, "Subscriptions that may exist.", low=1, high=100_000)
    max_members: int = setting(256, "Streams that may pull one subscription at a time.", low=1, high=10_000)
    subscription_cache_bytes: int = setting(
        4 * MIB, "Events a subscription may hold in memory between reading and delivery.", low=1
    )
    ack_linger: timedelta = setting(
        timedelta(milliseconds=20),
        "How long acknowledgements may gather before they are written; a member is told when they are.",
        low=0,
    )
    ack_deadline: timedelta = setting(timedelta(seconds=30), "Ack deadline of a subscription that names none.")
    backoff: tuple[str, ...] = setting(
        ("100ms", "1s", "5s", "30s", "2m"), "Waits before redelivery of a subscription that names none; the last one repeats."
    )
    max_deliveries: int = setting(
        10, "Deliveries before an event becomes a dead letter, for a subscription that names none.", low=1
    )
    redrive_batch: int = setting(
        500,
        "Dead letters given out again in one write; more take several, one after another.",
        low=1,
        high=10_000,
    )
    redrive_bytes: int = setting(4 * MIB, "Events of dead letters given out again in one write, in bytes; one at least.", low=1)
    max_in_flight: int = setting(1000, "Events out at a time of a subscription that names no limit.", low=1)
    max_unsettled: int = setting(
        20_000,
        "Events a subscription may hold unsettled (out, waiting, or behind their subject) before it reads no further.",
        low=1,
    )

    def check(self) -> None:
        """SettingError for rules of retention and waits that cannot be read."""
        retention_of_types(self.retention_types)
        with usable(self.env_name("compact_types")):
            for pattern in self.compact_types:
                _check_types(pattern)
        try:
            for wait in self.backoff:
                duration(wait)
        except ValueError as error:
            raise SettingError(f"{self.env_name('backoff')} is {','.join(self.backoff)!r}: {error}") from error
