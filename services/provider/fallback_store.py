"""Every SQL statement about fallback chains."""

import json
from datetime import datetime

from msgspec import Struct

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.fallback import Cause, Chain, Link, Target


class Stored(Struct, frozen=True):
    """A chain, when it was made and when it was set last."""

    chain: Chain
    created: datetime
    updated: datetime


async def put_chain(tx: Transaction, stored: Stored) -> None:
    """Makes or replaces a chain."""
    links = {str(int(cause)): [_packed(link) for link in found] for cause, found in stored.chain.links.items()}
    await tx.execute(
        "INSERT INTO fallback_chain (chain_id, description, links, created_us, updated_us)"
        " VALUES (:chain_id, :description, :links, :created_us, :updated_us) ON CONFLICT (chain_id) DO UPDATE"
        " SET description = excluded.description, links = excluded.links, updated_us = excluded.updated_us",
        {
            "chain_id": stored.chain.chain_id,
            "description": stored.chain.description,
            "links": json.dumps(links),
            "created_us": to_us(stored.created),
            "updated_us": to_us(stored.updated),
        },
    )


async def get_chain(tx: Transaction, chain_id: str) -> Stored | None:
    """The chain of that name."""

    async def load() -> Stored | None:
        row = await tx.fetch_one("SELECT * FROM fallback_chain WHERE chain_id = :chain_id", {"chain_id": chain_id})
        return None if row is None else _stored(row)

    return await tx.remembered("fallback_chain", chain_id, load)


async def list_chains(tx: Transaction, after: str, limit: int) -> list[Stored]:
    """At most `limit` chains by name, those after a name."""
    rows = await tx.fetch_all(
        "SELECT * FROM fallback_chain WHERE chain_id > :after ORDER BY chain_id LIMIT :limit", {"after": after, "limit": limit}
    )
    return [_stored(row) for row in rows]


async def count_chains(tx: Transaction) -> int:
    """How many there are."""
    row = await tx.fetch_one("SELECT COUNT(*) AS chains FROM fallback_chain")
    return row["chains"] if row else 0


async def delete_chain(tx: Transaction, chain_id: str) -> bool:
    """Deletes a chain; False when there is none."""
    return await tx.execute("DELETE FROM fallback_chain WHERE chain_id = :chain_id", {"chain_id": chain_id}) > 0


def _packed(link: Link) -> list[str]:
    return [link.alias] if link.target is None else [link.target.provider_id, link.target.model]


def _link(packed: list[str]) -> Link:
    return Link(alias=packed[0]) if len(packed) == 1 else Link(Target(packed[0], packed[1]))


def _stored(row: Row) -> Stored:
    links = {Cause(int(cause)): tuple(map(_link, found)) for cause, found in json.loads(row["links"]).items()}
    return Stored(Chain(row["chain_id"], links, row["description"]), from_us(row["created_us"]), from_us(row["updated_us"]))
