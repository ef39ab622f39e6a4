"""Statements about authorizations and connections."""

import json
from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from mesh.vault import Sealed
from services.integration.connection import ACTIVE, LAPSED, Authorization, Connection
from services.integration.lease import Lease
from services.integration.store import leases


async def insert_authorization(tx: Transaction, authorization: Authorization) -> None:
    """Keeps an authorization until its browser comes back."""
    await tx.execute(
        "INSERT INTO authorizations (state, user_id, provider, redirect_uri, scopes, nonce, verifier, key_id, expires_us)"
        " VALUES (:state, :user_id, :provider, :redirect_uri, :scopes, :nonce, :verifier, :key_id, :expires_us)",
        {
            "state": authorization.state,
            "user_id": authorization.user_id,
            "provider": authorization.provider,
            "redirect_uri": authorization.redirect_uri,
            "scopes": json.dumps(authorization.scopes),
            "nonce": authorization.nonce,
            "verifier": authorization.verifier.box,
            "key_id": authorization.verifier.key_id,
            "expires_us": to_us(authorization.expires),
        },
    )


async def take_authorization(tx: Transaction, state: str) -> Authorization | None:
    """Takes an authorization out, so that its state works once; None when it is not there."""
    row = await tx.fetch_one("DELETE FROM authorizations WHERE state = :state RETURNING *", {"state": state})
    return _authorization(row) if row else None


async def forget_authorizations(tx: Transaction, now: datetime) -> None:
    """Drops those whose time is over."""
    await tx.execute("DELETE FROM authorizations WHERE expires_us <= :now_us", {"now_us": to_us(now)})


async def count_authorizations(tx: Transaction) -> int:
    """How many are under way."""
    row = await tx.fetch_one("SELECT COUNT(*) AS n FROM authorizations")
    return int(row["n"]) if row else 0


def _authorization(row: Row) -> Authorization:
    return Authorization(
        row["state"],
        row["user_id"],
        row["provider"],
        row["redirect_uri"],
        tuple(json.loads(row["scopes"])),
        row["nonce"],
        Sealed(row["key_id"], row["verifier"]),
        from_us(row["expires_us"]),
    )


async def put_connection(tx: Transaction, connection: Connection) -> Connection:
    """Keeps a connection, in place of one that was there; gives it with the version and beginning it now has."""
    # versions begin with the time: from 1 on, a refresh of a connection that was revoked would fit the one made in its place
    row = await tx.fetch_one(
        "INSERT INTO connections (user_id, provider, account, scopes, state, tokens, key_id, refreshable, expires_us, version,"
        " lease_us, created_us, updated_us)"
        " VALUES (:user_id, :provider, :account, :scopes, :state, :tokens, :key_id, :refreshable, :expires_us, :created_us,"
        " 0, :created_us, :updated_us)"
        " ON CONFLICT (user_id, provider) DO UPDATE SET account = excluded.account, scopes = excluded.scopes,"
        " state = excluded.state, tokens = excluded.tokens, key_id = excluded.key_id, refreshable = excluded.refreshable,"
        " expires_us = excluded.expires_us, version = connections.version + 1, lease_us = 0, updated_us = excluded.updated_us"
        " RETURNING *",
        _columns(connection),
    )
    if row is None:
        raise RuntimeError("an upsert gave no row back")
    return _connection(row)


async def replace_tokens(tx: Transaction, connection: Connection) -> bool:
    """Keeps refreshed tokens and ends the lease, unless the connection was changed or removed since this version was read."""
    changed = await tx.execute(
        "UPDATE connections SET account = :account, scopes = :scopes, state = :state, tokens = :tokens, key_id = :key_id,"
        " refreshable = :refreshable, expires_us = :expires_us, version = version + 1, lease_us = 0, updated_us = :updated_us"
        " WHERE user_id = :user_id AND provider = :provider AND version = :version",
        _columns(connection) | {"version": connection.version},
    )
    return changed == 1


async def lease_refresh(tx: Transaction, connection: Connection, lease: Lease) -> bool:
    """Takes the right to refresh this version of the tokens; False while someone else has it."""
    changed = await tx.execute(
        "UPDATE connections SET lease_us = :until_us, lease_owner = :owner"  # noqa: S608 # constants only
        f" WHERE user_id = :user_id AND provider = :provider AND version = :version AND {leases.FREE}",
        {**leases.values(lease), **_key(connection.user_id, connection.provider), "version": connection.version},
    )
    return changed == 1


async def release_refresh(tx: Transaction, connection: Connection, lease: Lease) -> None:
    """Gives the right to refresh back without new tokens, unless somebody else has taken it over since."""
    await tx.execute(
        "UPDATE connections SET lease_us = 0"  # noqa: S608 # constants only
        f" WHERE user_id = :user_id AND provider = :provider AND version = :version AND {leases.HELD}",
        {**leases.values(lease), **_key(connection.user_id, connection.provider), "version": connection.version},
    )


async def mark_lapsed(tx: Transaction, connection: Connection) -> None:
    """Notes that the provider no longer takes this version of the tokens."""
    await tx.execute(
        "UPDATE connections SET state = :lapsed, lease_us = 0"
        " WHERE user_id = :user_id AND provider = :provider AND version = :version AND state = :active",
        {**_key(connection.user_id, connection.provider), "version": connection.version, "lapsed": LAPSED, "active": ACTIVE},
    )


async def get_connection(tx: Transaction, user_id: str, provider: str) -> Connection | None:
    """A user's connection at a provider."""
    row = await tx.fetch_one("SELECT * FROM connections WHERE user_id = :user_id AND provider = :provider", _key(user_id, provider))
    return _connection(row) if row else None


async def list_connections(tx: Transaction, user_id: str, after: str, limit: int) -> list[Connection]:
    """A user's connections whose provider's name comes after `after`, by name."""
    rows = await tx.fetch_all(
        "SELECT * FROM connections WHERE user_id = :user_id AND provider > :after ORDER BY provider LIMIT :limit",
        {"user_id": user_id, "after": after, "limit": limit},
    )
    return [_connection(row) for row in rows]


async def connections_under_other_keys(tx: Transaction, key_id: str) -> list[Connection]:
    """Connections that are not sealed under this key."""
    rows = await tx.fetch_all("SELECT * FROM connections WHERE key_id <> :key_id", {"key_id": key_id})
    return [_connection(row) for row in rows]


async def delete_connection(tx: Transaction, connection: Connection) -> bool:
    """Forgets a connection; False when it was changed or removed since this version was read."""
    deleted = await tx.execute(
        "DELETE FROM connections WHERE user_id = :user_id AND provider = :provider AND version = :version",
        {**_key(connection.user_id, connection.provider), "version": connection.version},
    )
    return deleted == 1


def _key(user_id: str, provider: str) -> dict[str, object]:
    return {"user_id": user_id, "provider": provider}


def _columns(connection: Connection) -> dict[str, object]:
    return {
        **_key(connection.user_id, connection.provider),
        "account": connection.account,
        "scopes": json.dumps(connection.scopes),
        "state": connection.state,
        "tokens": connection.secret.box,
        "key_id": connection.secret.key_id,
        "refreshable": int(connection.refreshable),
        "expires_us": to_us(connection.expires) if connection.expires else None,
        "created_us": to_us(connection.created),
        "updated_us": to_us(connection.updated),
    }


def _connection(row: Row) -> Connection:
    return Connection(
        user_id=row["user_id"],
        provider=row["provider"],
        account=row["account"],
        scopes=tuple(json.loads(row["scopes"])),
        state=row["state"],
        secret=Sealed(row["key_id"], row["tokens"]),
        refreshable=bool(row["refreshable"]),
        expires=None if row["expires_us"] is None else from_us(row["expires_us"]),
        version=row["version"],
        created=from_us(row["created_us"]),
        updated=from_us(row["updated_us"]),
    )


async def reseal(tx: Transaction, connection: Connection) -> None:
    """Keeps the same tokens under another key."""
    await tx.execute(
        "UPDATE connections SET tokens = :tokens, key_id = :key_id WHERE user_id = :user_id AND provider = :provider",
        {**_key(connection.user_id, connection.provider), "tokens": connection.secret.box, "key_id": connection.secret.key_id},
    )
