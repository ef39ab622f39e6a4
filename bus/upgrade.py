"""What SQL alone cannot do when an older log is opened: once, in the transaction of its migration."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator

from bus import batch_store, key_store, note_store, type_store, upgrade_store
from bus.batches import TYPE_BYTES, Batch, CorruptBatch
from mesh import contracts

# the source of a type that the contracts no longer have
_NOBODY = "nobody"
_IDS_AT_A_TIME = 1000


def to_records(connection: sqlite3.Connection) -> None:
    """From schema 1 to 2: numbers stand for type and source, ids are kept by record, checksums are CRC-32C.

    CorruptBatch when one does not fit the checksum that it had: nothing is changed then.
    """
    catalogue = contracts.catalogue()
    owners = {name: entry.owner for name, entry in catalogue.items()}
    before = upgrade_store.types_before_sources(connection)
    upgrade_store.number_types(connection, [(number, name, owners.get(name, _NOBODY)) for number, name in before])
    type_store.number_new_types(connection, owners.items())
    first, (head, time_us) = batch_store.first_position(connection), batch_store.head(connection)
    _take_over_ids(connection, first or head + 1, time_us)
    for batch, checksum in batch_store.every_batch(connection):
        if _checksum_before_crc32c(batch) != checksum:
            raise CorruptBatch(batch.position)
        batch_store.replace_batch(connection, batch)
        key_store.insert_keys(connection, [key_store.keys_in(batch)])
    # schema 1 wrote subjects down with each commit
    note_store.set_noted(connection, head)
    upgrade_store.add_checksums(connection)
    upgrade_store.drop_before_records(connection)


def _checksum_before_crc32c(batch: Batch) -> int:
    """The checksum that records had in schema 1: CRC-32 over the same bytes."""
    header = b"".join(number.to_bytes(8, "little", signed=True) for number in (batch.position, batch.last, batch.time_us))
    return zlib.crc32(batch.events, zlib.crc32(batch.types, zlib.crc32(header)))


def _take_over_ids(connection: sqlite3.Connection, first: int, time_us: int) -> None:
    """Keeps the ids of events that are no longer kept, with the newest time: none may be forgotten early."""
    numbers = {source: number.to_bytes(TYPE_BYTES, "little") for number, _, source in type_store.event_types(connection)}
    known = (
        (position, key, source)
        for position, key, source in upgrade_store.ids_before_records(connection, first)
        if source in numbers
    )
    for run in _neighbours(known):
        keys = b"".join(key for _, key, _ in run) + b"".join(numbers[source] for _, _, source in run)
        key_store.insert_keys(connection, [key_store.Keys(run[0][0], time_us, keys)])


def _neighbours(ids: Iterable[tuple[int, bytes, str]]) -> Iterator[list[tuple[int, bytes, str]]]:
    """Runs of ids whose positions follow each other, none too long."""
    run: list[tuple[int, bytes, str]] = []
    for each in ids:
        if run and (each[0] != run[-1][0] + 1 or len(run) == _IDS_AT_A_TIME):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


UPGRADES = {2: to_records}
