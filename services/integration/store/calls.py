"""Statements about calls under way: each is answered in one process, for another system must not be asked twice."""

from mesh.db import Transaction
from services.integration.lease import Lease
from services.integration.store import leases


async def claim_call(tx: Transaction, name: str, lease: Lease) -> bool:
    """Leases a call; False while it is under way somewhere."""
    values = leases.values(lease)
    await tx.execute(f"DELETE FROM calls_under_way WHERE {leases.FREE}", values)  # noqa: S608 # constants only
    claimed = await tx.execute(
        "INSERT INTO calls_under_way (name, lease_us, lease_owner) VALUES (:name, :until_us, :owner) ON CONFLICT DO NOTHING",
        {**values, "name": name},
    )
    return claimed == 1


async def renew_call(tx: Transaction, name: str, lease: Lease) -> None:
    """Lengthens the owner's lease, or takes one that has ended again; nothing when somebody else has it."""
    await tx.execute(
        "INSERT INTO calls_under_way (name, lease_us, lease_owner) VALUES (:name, :until_us, :owner)"
        " ON CONFLICT (name) DO UPDATE SET lease_us = :until_us WHERE calls_under_way.lease_owner = :owner",
        {**leases.values(lease), "name": name},
    )


async def end_call(tx: Transaction, name: str, owner: str) -> None:
    """Ends the owner's lease, unless somebody else has taken it over since."""
    await tx.execute("DELETE FROM calls_under_way WHERE name = :name AND lease_owner = :owner", {"name": name, "owner": owner})
