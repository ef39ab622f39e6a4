"""Every SQL statement about the registry at run time and about keys, each a named function inside the caller's transaction."""

import json
from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from mesh.vault import Sealed
from services.provider.keys import StoredKey
from services.provider.overlay import Change


async def stamp(tx: Transaction) -> str:
    """The text that changes with the registry or the keys; "" before the first change."""
    row = await tx.remembered("registry_stamp", "", lambda: tx.fetch_one("SELECT stamp FROM registry_stamp WHERE one = 1"))
    return str(row["stamp"]) if row else ""


async def put_stamp(tx: Transaction, text: str) -> None:
    """Says that something changed."""
    await tx.execute(
        "INSERT INTO registry_stamp (one, stamp) VALUES (1, :stamp) ON CONFLICT (one) DO UPDATE SET stamp = excluded.stamp",
        {"stamp": text},
    )


async def entries(tx: Transaction) -> list[Change]:
    """Every change, providers before models."""
    providers = await tx.fetch_all("SELECT provider_id, '' AS model, definition, enabled, deleted FROM registry_provider")
    models = await tx.fetch_all("SELECT provider_id, model, definition, enabled, deleted FROM registry_model")
    return [_entry(row) for row in (*providers, *models)]


async def put_provider(tx: Transaction, entry: Change, now: datetime) -> None:
    """Notes a change of a provider."""
    await tx.execute(
        "INSERT INTO registry_provider (provider_id, definition, enabled, deleted, updated_us)"
        " VALUES (:provider_id, :definition, :enabled, :deleted, :now_us) ON CONFLICT (provider_id) DO UPDATE SET"
        " definition = excluded.definition, enabled = excluded.enabled, deleted = excluded.deleted,"
        " updated_us = excluded.updated_us",
        {"provider_id": entry.provider_id, **_columns(entry, now)},
    )


async def put_model(tx: Transaction, entry: Change, now: datetime) -> None:
    """Notes a change of a model."""
    await tx.execute(
        "INSERT INTO registry_model (provider_id, model, definition, enabled, deleted, updated_us)"
        " VALUES (:provider_id, :model, :definition, :enabled, :deleted, :now_us) ON CONFLICT (provider_id, model) DO UPDATE SET"
        " definition = excluded.definition, enabled = excluded.enabled, deleted = excluded.deleted,"
        " updated_us = excluded.updated_us",
        {"provider_id": entry.provider_id, "model": entry.model, **_columns(entry, now)},
    )


async def forget_models(tx: Transaction, provider_id: str) -> None:
    """Drops what was changed of a provider's models."""
    await tx.execute("DELETE FROM registry_model WHERE provider_id = :provider_id", {"provider_id": provider_id})


async def insert_key(tx: Transaction, key: StoredKey, now: datetime) -> None:
    """Adds a key."""
    await tx.execute(
        "INSERT INTO provider_key (key_id, provider_id, display_name, hint, weight, vault_key_id, box, created_us, ends_us)"
        " VALUES (:key_id, :provider_id, :display_name, :hint, :weight, :vault_key_id, :box, :now_us, :ends_us)",
        {
            "key_id": key.key_id,
            "provider_id": key.provider_id,
            "display_name": key.display_name,
            "hint": key.hint,
            "weight": key.weight,
            "vault_key_id": key.sealed.key_id,
            "box": key.sealed.box,
            "now_us": to_us(now),
            "ends_us": to_us(key.ends) if key.ends else None,
        },
    )


async def update_key(tx: Transaction, key: StoredKey) -> None:
    """Changes a key's name, weight and end."""
    await tx.execute(
        "UPDATE provider_key SET display_name = :display_name, weight = :weight, ends_us = :ends_us WHERE key_id = :key_id",
        {
            "key_id": key.key_id,
            "display_name": key.display_name,
            "weight": key.weight,
            "ends_us": to_us(key.ends) if key.ends else None,
        },
    )


async def reseal_key(tx: Transaction, key_id: str, sealed: Sealed) -> None:
    """Keeps a key's secret under another key of the vault."""
    await tx.execute(
        "UPDATE provider_key SET vault_key_id = :vault_key_id, box = :box WHERE key_id = :key_id",
        {"key_id": key_id, "vault_key_id": sealed.key_id, "box": sealed.box},
    )


async def get_key(tx: Transaction, key_id: str) -> StoredKey | None:
    """A key; None when there is none."""
    row = await tx.fetch_one("SELECT * FROM provider_key WHERE key_id = :key_id", {"key_id": key_id})
    return _key(row) if row else None


async def keys(tx: Transaction, provider_id: str = "") -> list[StoredKey]:
    """Every key of one provider, or of all."""

    async def load() -> list[StoredKey]:
        rows = await tx.fetch_all(
            "SELECT * FROM provider_key WHERE (:provider_id = '' OR provider_id = :provider_id) ORDER BY provider_id, key_id",
            {"provider_id": provider_id},
        )
        return [_key(row) for row in rows]

    return await tx.remembered("provider_key", provider_id, load)


async def delete_key(tx: Transaction, key_id: str) -> bool:
    """Deletes a key; False when there is none."""
    return await tx.execute("DELETE FROM provider_key WHERE key_id = :key_id", {"key_id": key_id}) > 0


async def delete_keys(tx: Transaction, provider_id: str) -> None:
    """Deletes every key of a provider."""
    await tx.execute("DELETE FROM provider_key WHERE provider_id = :provider_id", {"provider_id": provider_id})


async def environment_print(tx: Transaction, provider_id: str) -> bytes | None:
    """By what the key of the environment was known that a provider had last; None when it never had one."""
    row = await tx.fetch_one("SELECT print FROM environment_key WHERE provider_id = :provider_id", {"provider_id": provider_id})
    return bytes(row["print"]) if row else None


async def put_environment_print(tx: Transaction, provider_id: str, found: bytes) -> None:
    """Notes by what it is known."""
    await tx.execute(
        "INSERT INTO environment_key (provider_id, print) VALUES (:provider_id, :print)"
        " ON CONFLICT (provider_id) DO UPDATE SET print = excluded.print",
        {"provider_id": provider_id, "print": found},
    )


def _columns(entry: Change, now: datetime) -> dict[str, object]:
    return {
        "definition": "" if entry.definition is None else json.dumps(dict(entry.definition), sort_keys=True),
        "enabled": int(entry.enabled),
        "deleted": int(entry.deleted),
        "now_us": to_us(now),
    }


def _entry(row: Row) -> Change:
    definition = json.loads(row["definition"]) if row["definition"] else None
    return Change(row["provider_id"], row["model"], definition, bool(row["enabled"]), bool(row["deleted"]))


def _key(row: Row) -> StoredKey:
    ends = row["ends_us"]
    return StoredKey(
        row["key_id"],
        row["provider_id"],
        row["display_name"],
        row["hint"],
        row["weight"],
        Sealed(row["vault_key_id"], bytes(row["box"])),
        from_us(row["created_us"]),
        from_us(ends) if ends is not None else None,
    )
