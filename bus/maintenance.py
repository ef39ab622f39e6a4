"""Looks after a log from outside, also while the bus runs: `python -m bus.maintenance verify FILE` and `... backup FILE TARGET`."""

import argparse
import sqlite3
import struct
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from google.protobuf.message import DecodeError

from bus import batch_store, file_store, key_store, subscription_store
from bus.batches import Batch


def verify(path: Path) -> list[str]:
    """What is wrong with a log, each as a sentence that names the position; an empty list when every promise about it holds."""
    try:
        with closing(file_store.connect(path, readonly=True)) as connection:
            findings = [f"SQLite: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            findings += _verify_batches(connection)
            findings += [
                f"the ids at position {position} do not fit their checksum" for position in key_store.damaged_keys(connection)
            ]
            copies = subscription_store.damaged_copies(connection)
            return findings + [f"what {name} keeps of the event at position {position} is damaged" for name, position in copies]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # SQLite quotes the schema that it cannot read, and damage need not be text
        return [f"SQLite: {error}"]


def _verify_batches(connection: sqlite3.Connection) -> list[str]:
    findings = []
    expected = time_us = 0
    for batch, checksum in batch_store.every_batch(connection):
        if not _fits(batch, checksum):
            findings.append(f"the batch at position {batch.position} does not fit its checksum")
            # where a damaged batch ends cannot be known
            expected = 0
            continue
        if expected and batch.position != expected:
            findings.append(f"positions {expected} to {batch.position - 1} are missing")
        if batch.time_us < time_us:
            findings.append(f"the batch at position {batch.position} is older than the one before")
        count = batch.last - batch.position + 1
        if len(batch.type_ids()) != count or _count(batch) != count:
            findings.append(f"the batch at position {batch.position} does not hold the {count} events it says")
        expected, time_us = batch.last + 1, batch.time_us
    return findings


def _fits(batch: Batch, checksum: int) -> bool:
    try:
        return batch.checksum() == checksum
    except (TypeError, struct.error):
        # the damage hit the row's header: its columns are not even of the kinds that were written
        return False


def _count(batch: Batch) -> int:
    try:
        return len(batch.decode())
    except DecodeError:
        return -1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code is 1 when verify finds something, or a file cannot be read or written."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("verify", help="check every record of a log").add_argument("file", type=Path)
    copy = commands.add_parser("backup", help="copy a log while it is in use")
    copy.add_argument("file", type=Path)
    copy.add_argument("target", type=Path)
    commands.add_parser("head", help="print the position of the newest event").add_argument("file", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        return _done(chosen)
    except sqlite3.Error as error:
        sys.stderr.write(f"{chosen.command} {chosen.file}: {error}\n")
        return 1


def _done(chosen: argparse.Namespace) -> int:
    if chosen.command == "head":
        with closing(file_store.connect(chosen.file, readonly=True)) as connection:
            sys.stdout.write(f"{batch_store.head(connection)[0]}\n")
        return 0
    if chosen.command == "backup":
        if chosen.target.exists() and chosen.target.samefile(chosen.file):
            sys.stderr.write(f"{chosen.target} is the log itself; name another file\n")
            return 1
        with closing(file_store.connect(chosen.file, readonly=True)) as connection:
            file_store.backup(connection, chosen.target)
        return 0
    findings = verify(chosen.file)
    sys.stdout.write("".join(f"{finding}\n" for finding in findings) or "ok\n")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
