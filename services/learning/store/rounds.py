"""Statements about rounds."""

from datetime import date, datetime, timedelta, tzinfo

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.learning.store.columns import exercise_of, exercise_params, optional_time, optional_us
from services.learning.training import Reason, Round, RoundState

QUARTER_HOUR = timedelta(minutes=15)


def _round(row: Row) -> Round:
    return Round(
        row["round_id"],
        row["session_id"],
        row["number"],
        RoundState(row["state"]),
        exercise_of(row),
        Reason(row["reason"]),
        row["expected_score"],
        row["score"],
        row["comment"],
        from_us(row["open_us"]),
        optional_time(row["close_us"]),
    )


async def insert_round(tx: Transaction, user_id: str, opened: Round) -> None:
    """Keeps a new, open round."""
    await tx.execute(
        "INSERT INTO rounds (round_id, session_id, user_id, number, state, card_id, domain, skill, prompt, rubric, difficulty,"
        " reason, expected_score, comment, open_us) VALUES (:round_id, :session_id, :user_id, :number, :state, :card_id, :domain,"
        " :skill, :prompt, :rubric, :difficulty, :reason, :expected_score, :comment, :open_us)",
        {
            **exercise_params(opened.exercise),
            "round_id": opened.id,
            "session_id": opened.session_id,
            "user_id": user_id,
            "number": opened.number,
            "state": int(opened.state),
            "reason": int(opened.reason),
            "expected_score": opened.expected_score,
            "comment": opened.comment,
            "open_us": to_us(opened.open),
        },
    )


async def close_round(tx: Transaction, closed: Round) -> None:
    """Keeps the feedback of a round."""
    await tx.execute(
        "UPDATE rounds SET state = :state, score = :score, comment = :comment, close_us = :close_us WHERE round_id = :round_id",
        {
            "round_id": closed.id,
            "state": int(closed.state),
            "score": closed.score,
            "comment": closed.comment,
            "close_us": optional_us(closed.close),
        },
    )


async def find_round(tx: Transaction, session_id: str, round_id: str) -> Round | None:
    """A round of this session."""
    row = await tx.fetch_one(
        "SELECT * FROM rounds WHERE round_id = :round_id AND session_id = :session_id",
        {"round_id": round_id, "session_id": session_id},
    )
    return _round(row) if row else None


async def rounds_of_session(tx: Transaction, session_id: str) -> list[Round]:
    """All rounds of a session, the first one first."""
    rows = await tx.fetch_all("SELECT * FROM rounds WHERE session_id = :session_id ORDER BY number", {"session_id": session_id})
    return [_round(row) for row in rows]


async def newest_closed(tx: Transaction, user_id: str, limit: int) -> list[Round]:
    """The rounds closed last, newest first."""
    rows = await tx.fetch_all(
        "SELECT * FROM rounds WHERE user_id = :user_id AND close_us IS NOT NULL ORDER BY close_us DESC, round_id DESC LIMIT :limit",
        {"user_id": user_id, "limit": limit},
    )
    return [_round(row) for row in rows]


async def count_closed(tx: Transaction, user_id: str) -> int:
    """Number of rounds that the user has closed."""
    row = await tx.fetch_one(
        "SELECT COUNT(*) AS closed FROM rounds WHERE user_id = :user_id AND close_us IS NOT NULL", {"user_id": user_id}
    )
    return row["closed"] if row else 0


async def active_days(tx: Transaction, user_id: str, since: datetime, zone: tzinfo) -> set[date]:
    """Days of a time zone on which the user closed a round.

    Grouped by quarter hours, because every time zone of today is whole quarters away from UTC: few rows for many rounds.
    """
    quarter_us = QUARTER_HOUR // timedelta(microseconds=1)
    rows = await tx.fetch_all(
        "SELECT DISTINCT close_us / :quarter_us AS quarter FROM rounds WHERE user_id = :user_id AND close_us >= :since_us",
        {"user_id": user_id, "since_us": to_us(since), "quarter_us": quarter_us},
    )
    return {from_us(row["quarter"] * quarter_us).astimezone(zone).date() for row in rows}


async def log_of_card(tx: Transaction, user_id: str, card_id: str) -> list[tuple[datetime, float]]:
    """When a card was reviewed and with what score, oldest first."""
    rows = await tx.fetch_all(
        "SELECT close_us, score FROM rounds WHERE user_id = :user_id AND card_id = :card_id AND close_us IS NOT NULL"
        " ORDER BY close_us, round_id",
        {"user_id": user_id, "card_id": card_id},
    )
    return [(from_us(row["close_us"]), row["score"]) for row in rows]


async def log_page(tx: Transaction, user_id: str, after: tuple[int, str], limit: int) -> list[tuple[str, str, datetime, float]]:
    """Round, card, time and score of a user's reviews, oldest first, after that (time, round)."""
    rows = await tx.fetch_all(
        "SELECT round_id, card_id, close_us, score FROM rounds WHERE user_id = :user_id AND close_us IS NOT NULL"
        " AND (close_us > :close_us OR (close_us = :close_us AND round_id > :round_id)) ORDER BY close_us, round_id LIMIT :limit",
        {"user_id": user_id, "close_us": after[0], "round_id": after[1], "limit": limit},
    )
    return [(row["round_id"], row["card_id"], from_us(row["close_us"]), row["score"]) for row in rows]
