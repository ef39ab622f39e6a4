"""Statements about pauses: until when another system wants to be left alone."""

from datetime import datetime, timedelta

from mesh.clock import from_us, to_us
from mesh.db import Transaction


async def pause(tx: Transaction, remote: str, identity: str, now: datetime, until: datetime) -> None:
    """Notes that from now until then a remote system wants to be left alone by an identity."""
    await tx.execute(
        "INSERT INTO pauses (remote, identity, since_us, until_us) VALUES (:remote, :identity, :since_us, :until_us)"
        " ON CONFLICT (remote, identity) DO UPDATE SET since_us = excluded.since_us, until_us = excluded.until_us",
        {"remote": remote, "identity": identity, "since_us": to_us(now), "until_us": to_us(until)},
    )


async def wait(tx: Transaction, remote: str, identity: str, now: datetime) -> timedelta | None:
    """For how long it still wants to be; None when it does not, or the clock was set back since it asked."""
    row = await tx.fetch_one(
        "SELECT until_us FROM pauses WHERE remote = :remote AND identity = :identity"
        " AND since_us <= :now_us AND until_us > :now_us",
        {"remote": remote, "identity": identity, "now_us": to_us(now)},
    )
    return from_us(row["until_us"]) - now if row else None


async def forget_pause(tx: Transaction, remote: str, identity: str) -> None:
    """Drops it: the identity has another account there now, with limits of its own."""
    await tx.execute("DELETE FROM pauses WHERE remote = :remote AND identity = :identity", {"remote": remote, "identity": identity})
