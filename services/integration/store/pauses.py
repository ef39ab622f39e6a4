"""Statements about pauses: until when another system wants to be left alone."""

from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Transaction


async def pause(tx: Transaction, remote: str, identity: str, until: datetime) -> None:
    """Notes until when a remote system wants to be left alone by an identity."""
    await tx.execute(
        "INSERT INTO pauses (remote, identity, until_us) VALUES (:remote, :identity, :until_us)"
        " ON CONFLICT (remote, identity) DO UPDATE SET until_us = excluded.until_us",
        {"remote": remote, "identity": identity, "until_us": to_us(until)},
    )


async def paused_until(tx: Transaction, remote: str, identity: str) -> datetime | None:
    """That time; None when it never asked."""
    row = await tx.fetch_one(
        "SELECT until_us FROM pauses WHERE remote = :remote AND identity = :identity", {"remote": remote, "identity": identity}
    )
    return from_us(row["until_us"]) if row else None


async def forget_pause(tx: Transaction, remote: str, identity: str) -> None:
    """Drops it: the identity has another account there now, with limits of its own."""
    await tx.execute("DELETE FROM pauses WHERE remote = :remote AND identity = :identity", {"remote": remote, "identity": identity})
