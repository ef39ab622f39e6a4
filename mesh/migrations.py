"""Forward-only numbered migrations: files named NNNN_name.sql, applied once each in order, never edited after they were applied."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
KIT = Path(__file__).parent / "schema"


class MigrationError(RuntimeError):
    """A schema folder or a database that does not fit; the message says what to do."""


@dataclass(frozen=True)
class Migration:
    """One migration: who it belongs to ("kit" or the service), number, name and SQL text."""

    owner: str
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Hash of the text, kept with the applied migration."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """The SQL text cut at its complete statements."""
        pending = ""
        for line in self.sql.splitlines(keepends=True):
            pending += line
            if sqlite3.complete_statement(pending):
                yield pending
                pending = ""
        if pending.strip():
            raise MigrationError(f"{self.owner}/{self.name} ends in the middle of a statement; close it with a semicolon")


def read(owner: str, folder: Path) -> list[Migration]:
    """The migrations of a folder in order; MigrationError for a gap, a repeat or a name that is not NNNN_name.sql."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if not match:
            raise MigrationError(f"{path.name} is not named like 0001_name.sql")
        found.append(Migration(owner, int(match[1]), path.name, path.read_text()))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the migrations of {owner} are not numbered 1, 2, 3, ... without gaps")
    return found


async def apply(connection: aiosqlite.Connection, migrations: list[Migration], now_us: int) -> None:
    """Applies what is missing, each in its own transaction; MigrationError when an applied one was edited or is unknown."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,"
        " checksum TEXT NOT NULL, applied_us INTEGER NOT NULL, PRIMARY KEY (owner, number))"
    )
    for migration in migrations:
        await connection.execute("BEGIN IMMEDIATE")
        try:
            await _apply_one(connection, migration, now_us)
            await connection.execute("COMMIT")
        except BaseException:
            # on a full disk SQLite has rolled back by itself, and that there is nothing more to undo must not hide why
            if connection.in_transaction:
                await connection.execute("ROLLBACK")
            raise
    await _refuse_newer(connection, migrations)


async def _apply_one(connection: aiosqlite.Connection, migration: Migration, now_us: int) -> None:
    rows = await connection.execute_fetchall(
        "SELECT checksum FROM schema_migrations WHERE owner = ? AND number = ?", (migration.owner, migration.number)
    )
    for (checksum,) in rows:
        if checksum != migration.checksum:
            raise MigrationError(f"{migration.owner}/{migration.name} was edited after it was applied; undo that and add a new one")
        return
    for statement in migration.statements():
        await connection.execute(statement)
    await connection.execute(
        "INSERT INTO schema_migrations VALUES (?, ?, ?, ?, ?)",
        (migration.owner, migration.number, migration.name, migration.checksum, now_us),
    )


async def _refuse_newer(connection: aiosqlite.Connection, migrations: list[Migration]) -> None:
    known = {(migration.owner, migration.number) for migration in migrations}
    rows = await connection.execute_fetchall("SELECT owner, number, name FROM schema_migrations ORDER BY owner, number")
    for owner, number, name in rows:
        if (owner, number) not in known:
            raise MigrationError(f"the database has migration {owner}/{name}, which this version does not know; run a newer one")
