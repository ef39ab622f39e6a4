"""Statements about messages to Slack."""

from datetime import datetime
from typing import Any

from mesh.clock import to_us
from mesh.db import Row, Transaction

PENDING, SENT, FAILED = "pending", "sent", "failed"


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


async def update_slack_message(
    tx: Transaction, message_id: str, state: str, message: bytes, next_us: int = 0, since_us: int = 0
) -> None:
    """Keeps how far a message has come; one that waits until `next_us` has waited since `since_us`."""
    await tx.execute(
        "UPDATE slack_messages SET state = :state, message = :message, next_us = :next_us, since_us = :since_us"
        " WHERE message_id = :message_id",
        {"message_id": message_id, "state": state, "message": message, "next_us": next_us, "since_us": since_us},
    )


async def due_slack_messages(tx: Transaction, now: datetime, limit: int) -> list[Row]:
    """Waiting messages whose time has come, oldest first; those too that were put off before the clock was set back."""
    return await tx.fetch_all(
        "SELECT message, correlation_id, traceparent FROM slack_messages WHERE state = :pending"
        " AND (next_us <= :now_us OR since_us > :now_us) ORDER BY next_us, message_id LIMIT :limit",
        {"pending": PENDING, "now_us": to_us(now), "limit": limit},
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
