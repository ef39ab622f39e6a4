"""What SQL alone cannot do when an older log is opened: once, in the transaction of its migration."""

import sqlite3
from uuid import UUID

from bus import store, subscription_store
from bus.batches import CorruptBatch
from mesh import contracts

# a type that the contracts no longer have
_NOBODY = "nobody"


def to_records(connection: sqlite3.Connection) -> None:
    """From schema 1 to 2: numbers stand for type and source, ids are kept by record, checksums are CRC-32C. CorruptBatch for a bad one."""
    owners = {name: entry.owner for name, entry in contracts.catalogue().items()}
    store.number_types(
        connection, [(number, name, owners.get(name, _NOBODY)) for number, name in store.types_before_sources(connection)]
    )
    for batch, checksum in list(store.every_batch(connection)):
        if store.checksum_before_crc32c(batch) != checksum:
            raise CorruptBatch(batch.position)
        store.replace_batch(connection, batch)
        store.insert_keys(
            connection, batch.position, batch.time_us, b"".join(UUID(event.id).bytes for event in batch.decode()) + batch.types
        )
    subscription_store.add_checksums(connection)


UPGRADES = {2: to_records}
