"""Statements about calls under way: each is answered in one process, for another system must not be asked twice."""

from datetime import datetime

from mesh.clock import to_us
from mesh.db import Transaction


async def claim_call(tx: Transaction, name: str, now: datetime, until: datetime) -> bool:
    """Leases a call to the caller until then; False while it is under way somewhere."""
    # leases that have ended, and those that only a clock that has been set back since can have given
    at = {"now_us": to_us(now), "latest_us": to_us(until + (until - now))}
    await tx.execute("DELETE FROM calls_under_way WHERE lease_us <= :now_us OR lease_us > :latest_us", at)
    claimed = await tx.execute(
        "INSERT INTO calls_under_way (name, lease_us) VALUES (:name, :until_us) ON CONFLICT DO NOTHING",
        {"name": name, "until_us": to_us(until)},
    )
    return claimed == 1


async def renew_call(tx: Transaction, name: str, until: datetime) -> None:
    """Lengthens that lease; one that has ended stays so."""
    await tx.execute("UPDATE calls_under_way SET lease_us = :until_us WHERE name = :name", {"name": name, "until_us": to_us(until)})


async def end_call(tx: Transaction, name: str) -> None:
    """Ends that lease."""
    await tx.execute("DELETE FROM calls_under_way WHERE name = :name", {"name": name})
