"""Every SQL statement of subscriptions, retries and dead letters; run inside the log's transactions."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from tooloo.event.v1.event_pb2 import Event

from bus import batch_store, file_store, native
from bus.batches import GONE, CorruptBatch
from bus.deliveries import Changes, Retry
from bus.ranges import AckState
from bus.storage import Some, Stored, StoredDeadLetter


def next_epoch(connection: sqlite3.Connection) -> int:
    """Counts the starts of this log; fencing tokens begin with it, so that none is ever given twice."""
    epoch = file_store.value_of(connection, "epoch") + 1
    file_store.set_value(connection, "epoch", epoch)
    return epoch


def every(connection: sqlite3.Connection) -> list[Stored]:
    """Every subscription, by name."""
    return [
        Stored(row[0], row[1], bool(row[2]), AckState.decode(row[3], row[4]), row[5])
        for row in connection.execute(
            "SELECT name, definition, paused, ack_floor, ack_ranges, create_time_us FROM subscriptions ORDER BY name"
        )
    ]


def insert(connection: sqlite3.Connection, stored: Stored) -> None:
    """Makes a subscription."""
    connection.execute(
        "INSERT INTO subscriptions (name, definition, paused, ack_floor, ack_ranges, create_time_us) VALUES (?, ?, ?, ?, ?, ?)",
        (stored.name, stored.definition, stored.paused, stored.acks.floor, stored.acks.encode(), stored.create_time_us),
    )


def update_definition(connection: sqlite3.Connection, name: str, definition: bytes) -> None:
    """Replaces a definition."""
    connection.execute("UPDATE subscriptions SET definition = ? WHERE name = ?", (definition, name))


def set_paused(connection: sqlite3.Connection, name: str, paused: bool) -> None:
    """Pauses or resumes."""
    connection.execute("UPDATE subscriptions SET paused = ? WHERE name = ?", (paused, name))


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Deletes a subscription with its retries and dead letters."""
    connection.execute("DELETE FROM subscriptions WHERE name = ?", (name,))


def move(connection: sqlite3.Connection, name: str, floor: int) -> None:
    """Moves a subscription: all up to `floor` counts as settled, nothing beyond it; dead letters stay, redriven or not."""
    save_acks(connection, name, AckState(floor))
    connection.execute("DELETE FROM retries WHERE subscription = ? AND event IS NULL", (name,))


def save_acks(connection: sqlite3.Connection, name: str, acks: AckState) -> None:
    """Writes floor and ranges."""
    connection.execute("UPDATE subscriptions SET ack_floor = ?, ack_ranges = ? WHERE name = ?", (acks.floor, acks.encode(), name))


def retries(connection: sqlite3.Connection, name: str, due: Callable[[int, int], float]) -> list[Retry]:
    """Events that wait for another delivery; `due` turns their stored due time and the wait asked for into the dealer's."""
    return [
        Retry(position, subject, attempts, due(due_us, asked_us), error, asked_us / 1e6, bool(redriven))
        for position, subject, attempts, due_us, asked_us, error, redriven in connection.execute(
            "SELECT position, subject, attempts, due_us, asked_us, error, event IS NOT NULL FROM retries "
            "WHERE subscription = ? ORDER BY position",
            (name,),
        )
    ]


def kept_event(connection: sqlite3.Connection, name: str, position: int) -> bytes | None:
    """The event that a redriven dead letter brought along; None when the log has it; CorruptBatch when it is damaged."""
    row = connection.execute(
        "SELECT event, checksum FROM retries WHERE subscription = ? AND position = ? AND event IS NOT NULL", (name, position)
    ).fetchone()
    return _sound(position, *row) if row else None


def apply(
    connection: sqlite3.Connection,
    name: str,
    floor: int,
    ranges: bytes,
    changes: Changes,
    us_of: Callable[[float], int],
    now_us: int,
) -> None:
    """Writes what a dealer gathered: acks, retries and dead letters together."""
    connection.execute("UPDATE subscriptions SET ack_floor = ?, ack_ranges = ? WHERE name = ?", (floor, ranges, name))
    for dead in changes.dead.values():
        event = _event_of(connection, name, dead.position)
        if event is None:
            continue
        body = event.SerializeToString()
        connection.execute(
            "INSERT INTO dead_letters (subscription, position, subject, event, checksum, reason, attempts, error, create_time_us) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subscription, position) DO UPDATE SET "
            "reason = excluded.reason, attempts = excluded.attempts, error = excluded.error, "
            "create_time_us = excluded.create_time_us",
            (
                *(name, dead.position, event.subject or dead.subject, body, native.crc32c(body)),
                *(dead.reason, dead.attempts, dead.error, now_us),
            ),
        )
    connection.executemany(
        "DELETE FROM retries WHERE subscription = ? AND position = ?", [(name, position) for position in changes.forgotten]
    )
    connection.executemany(
        "INSERT INTO retries (subscription, position, subject, attempts, due_us, asked_us, error) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (subscription, position) DO UPDATE SET "
        "attempts = excluded.attempts, due_us = excluded.due_us, asked_us = excluded.asked_us, error = excluded.error",
        [(name, r.position, r.subject, r.attempts, us_of(r.due), int(r.asked * 1e6), r.error) for r in changes.retries.values()],
    )


def dead_letters(connection: sqlite3.Connection, name: str, after: int, limit: int, max_bytes: int) -> list[StoredDeadLetter]:
    """Dead letters beyond a position, oldest first; CorruptBatch for one whose event is damaged.

    Two at least, and no more once their events take more than `max_bytes`.
    """
    found: list[StoredDeadLetter] = []
    size = 0
    for position, event, checksum, *rest in connection.execute(
        "SELECT position, event, checksum, reason, attempts, error, create_time_us FROM dead_letters "
        "WHERE subscription = ? AND position > ? ORDER BY position LIMIT ?",
        (name, after, limit),
    ):
        found.append(StoredDeadLetter(position, _sound(position, event, checksum), *rest))
        size += len(event)
        if size > max_bytes and len(found) > 1:
            break
    return found


def damaged_copies(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """(subscription, position) of every copy of an event, in a dead letter or a retry, that is not what was written."""
    return [
        (name, position)
        for name, position, event, checksum in connection.execute(
            "SELECT subscription, position, event, checksum FROM dead_letters UNION ALL "
            "SELECT subscription, position, event, checksum FROM retries WHERE event IS NOT NULL"
        )
        if not isinstance(event, bytes) or native.crc32c(event) != checksum
    ]


def dead_letter_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many dead letters each subscription keeps; those without any are left out."""
    return dict(connection.execute("SELECT subscription, count(*) FROM dead_letters GROUP BY subscription").fetchall())


def erase_subject(connection: sqlite3.Connection, subject: str) -> None:
    """Deletes what subscriptions keep of a subject's events."""
    connection.execute("DELETE FROM dead_letters WHERE subject = ?", (subject,))
    connection.execute("DELETE FROM retries WHERE subject = ?", (subject,))


def redrive(connection: sqlite3.Connection, name: str, some: Some, now_us: int) -> list[Retry]:
    """Turns dead letters into retries with fresh attempts, each exactly once; the event goes along."""
    chosen = list(_chosen(connection, name, some))
    connection.executemany(
        "INSERT INTO retries (subscription, position, subject, attempts, due_us, error, event, checksum) "
        "SELECT subscription, position, subject, 0, ?, '', event, checksum FROM dead_letters "
        "WHERE subscription = ? AND position = ? "
        "ON CONFLICT (subscription, position) DO UPDATE SET event = excluded.event, checksum = excluded.checksum",
        [(now_us, name, position) for position, _ in chosen],
    )
    _delete_dead(connection, name, (position for position, _ in chosen))
    return [Retry(position, subject, 0, 0.0, "", redriven=True) for position, subject in chosen]


def drop(connection: sqlite3.Connection, name: str, positions: Sequence[int] | None) -> int:
    """Drops dead letters (None: all) for good; returns how many."""
    if positions is None:
        return connection.execute("DELETE FROM dead_letters WHERE subscription = ?", (name,)).rowcount
    return _delete_dead(connection, name, positions)


def _chosen(connection: sqlite3.Connection, name: str, some: Some) -> Iterator[tuple[int, str]]:
    """Position and subject of dead letters, by their keys: a subscription may keep many, and the log's writer waits meanwhile."""
    every = "SELECT position, subject, length(event) FROM dead_letters WHERE subscription = ?"
    if some.positions is None:
        found: Iterable[tuple[int, str, int]] = connection.execute(
            f"{every} AND position > ? ORDER BY position LIMIT ?", (name, some.after, some.most)
        )
    else:
        wanted = sorted({position for position in some.positions if position > some.after})
        each = (connection.execute(f"{every} AND position = ?", (name, position)).fetchone() for position in wanted)
        found = islice((row for row in each if row), some.most)
    size = 0
    for position, subject, length in found:
        if size and size + length > some.max_bytes:
            return
        size += length
        yield position, subject


def _delete_dead(connection: sqlite3.Connection, name: str, positions: Iterable[int]) -> int:
    return connection.executemany(
        "DELETE FROM dead_letters WHERE subscription = ? AND position = ?", [(name, position) for position in positions]
    ).rowcount


def _event_of(connection: sqlite3.Connection, name: str, position: int) -> Event | None:
    """The event for a dead letter; None when it was erased while it was out, and no letter of it may be kept.

    Empty when its bytes in the log are damaged, for the letter itself must not be lost.
    """
    try:
        kept = kept_event(connection, name, position)
        if kept is not None:
            return Event.FromString(kept)
        batch = batch_store.read_batch(connection, position)
    except CorruptBatch:
        batch = None
    if batch and batch.type_ids()[position - batch.position] == GONE:
        return None
    event = batch.decode()[position - batch.position] if batch else Event()
    event.position = position
    return event


def _sound(position: int, event: bytes, checksum: int) -> bytes:
    if not isinstance(event, bytes) or native.crc32c(event) != checksum:
        raise CorruptBatch(position)
    return event
