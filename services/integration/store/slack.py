"""Statements about messages to Slack."""

from typing import Any, NamedTuple

from mesh.db import Row, Transaction
from services.integration.lease import Lease
from services.integration.store import leases

PENDING, SENT, FAILED = "pending", "sent", "failed"
# its time has come, or it was put off before the clock was set back
_DUE = f"state = :pending AND (next_us <= :now_us OR since_us > :now_us) AND {leases.FREE}"


class PutOff(NamedTuple):
    """How far a message that was not sent has come; one that waits until `next_us` has waited since `since_us`."""

    state: str
    next_us: int
    since_us: int


def _of(lease: Lease) -> dict[str, object]:
    return {**leases.values(lease), "pending": PENDING}


async def insert_slack_message(tx: Transaction, row: dict[str, Any]) -> bool:
    """Keeps a new message; False when its event has become one already."""
    inserted = await tx.execute(
        "INSERT INTO slack_messages (message_id, state, message, cause_event_id, correlation_id, traceparent, next_us,"
        " since_us, created_us) VALUES (:message_id, :state, :message, :cause_event_id, :correlation_id, :traceparent, :next_us,"
        " :created_us, :created_us)"
        " ON CONFLICT DO NOTHING",
        row,
    )
    return inserted == 1


async def due_slack_messages(tx: Transaction, lease: Lease, limit: int) -> list[Row]:
    """Waiting messages whose time has come and that nobody sends, oldest first, for whoever would take this lease."""
    return await tx.fetch_all(
        f"SELECT message_id, message, correlation_id, traceparent FROM slack_messages WHERE {_DUE}"  # noqa: S608 # constants only
        " ORDER BY next_us, message_id LIMIT :limit",
        {**_of(lease), "limit": limit},
    )


async def claim_slack_message(tx: Transaction, message_id: str, lease: Lease) -> bool:
    """Leases a due message; False when somebody else has it, or has sent it."""
    claimed = await tx.execute(
        "UPDATE slack_messages SET lease_us = :until_us, lease_owner = :owner"  # noqa: S608 # constants only
        f" WHERE message_id = :message_id AND {_DUE}",
        {**_of(lease), "message_id": message_id},
    )
    return claimed == 1


async def release_slack_message(tx: Transaction, message_id: str, lease: Lease) -> None:
    """Gives a message back that this lease was for."""
    await tx.execute(
        f"UPDATE slack_messages SET lease_us = 0 WHERE message_id = :message_id AND {leases.HELD}",  # noqa: S608 # constants only
        {**_of(lease), "message_id": message_id},
    )


async def keep_sent(tx: Transaction, message_id: str, message: bytes) -> bool:
    """Keeps that a message was sent; False when that is known."""
    changed = await tx.execute(
        "UPDATE slack_messages SET state = :sent, message = :message, next_us = 0, lease_us = 0"
        " WHERE message_id = :message_id AND state = :pending",
        {"message_id": message_id, "message": message, "sent": SENT, "pending": PENDING},
    )
    return changed == 1


async def keep_unsent(tx: Transaction, message_id: str, message: bytes, put_off: PutOff, lease: Lease) -> None:
    """Keeps how far a message has come and ends this lease, unless somebody else has taken it over since."""
    await tx.execute(
        "UPDATE slack_messages SET state = :state, message = :message, next_us = :next_us, since_us = :since_us,"  # noqa: S608 # constants only
        f" lease_us = 0 WHERE message_id = :message_id AND state = :pending AND {leases.HELD}",
        {**_of(lease), **put_off._asdict(), "message_id": message_id, "message": message},
    )


async def count_waiting(tx: Transaction) -> int:
    """How many messages wait."""
    row = await tx.fetch_one("SELECT COUNT(*) AS n FROM slack_messages WHERE state = :pending", {"pending": PENDING})
    return int(row["n"]) if row else 0


async def list_slack_messages(tx: Transaction, state: str, before: tuple[int, str] | None, limit: int) -> list[Row]:
    """Messages, newest first, in a state or in any (""), from before (created_us, message_id) on."""
    return await tx.fetch_all(
        "SELECT message, created_us, message_id FROM slack_messages WHERE (:state = '' OR state = :state)"
        " AND (created_us < :created_us OR (created_us = :created_us AND message_id < :message_id))"
        " ORDER BY created_us DESC, message_id DESC LIMIT :limit",
        {"state": state, "limit": limit}
        | ({"created_us": before[0], "message_id": before[1]} if before else {"created_us": 2**62, "message_id": ""}),
    )


async def trim_slack_messages(tx: Transaction, keep: int) -> None:
    """Drops the oldest messages that wait for nothing, beyond `keep`."""
    await tx.execute(
        "DELETE FROM slack_messages WHERE state <> :pending AND created_us < (SELECT MIN(created_us) FROM"
        " (SELECT created_us FROM slack_messages ORDER BY created_us DESC LIMIT :keep) AS newest)",
        {"pending": PENDING, "keep": keep},
    )
