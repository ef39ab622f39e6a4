"""Statements about sessions."""

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.learning.store.columns import optional_time, optional_us
from services.learning.training import Session, SessionState


def _session_params(session: Session) -> dict[str, object]:
    return {
        "session_id": session.id,
        "user_id": session.user_id,
        "focus_area": session.focus_area,
        "domain": session.domain,
        "state": int(session.state),
        "round_count": session.round_count,
        "rounds_completed": session.rounds_completed,
        "score_sum": session.score_sum,
        "start_us": to_us(session.start),
        "complete_us": optional_us(session.complete),
    }


def _session(row: Row) -> Session:
    return Session(
        row["session_id"],
        row["user_id"],
        row["focus_area"],
        row["domain"],
        SessionState(row["state"]),
        row["round_count"],
        row["rounds_completed"],
        row["score_sum"],
        from_us(row["start_us"]),
        optional_time(row["complete_us"]),
    )


async def insert_session(tx: Transaction, session: Session) -> None:
    """Keeps a new session."""
    await tx.execute(
        "INSERT INTO sessions (session_id, user_id, focus_area, domain, state, round_count, rounds_completed, score_sum,"
        " start_us, complete_us) VALUES (:session_id, :user_id, :focus_area, :domain, :state, :round_count, :rounds_completed,"
        " :score_sum, :start_us, :complete_us)",
        _session_params(session),
    )


async def update_session(tx: Transaction, session: Session) -> None:
    """Keeps how a session stands now."""
    await tx.execute(
        "UPDATE sessions SET state = :state, rounds_completed = :rounds_completed, score_sum = :score_sum,"
        " complete_us = :complete_us WHERE session_id = :session_id",
        _session_params(session),
    )


async def find_session(tx: Transaction, user_id: str, session_id: str) -> Session | None:
    """A session of this user; None when it is another's or nobody's."""
    row = await tx.fetch_one(
        "SELECT * FROM sessions WHERE session_id = :session_id AND user_id = :user_id",
        {"session_id": session_id, "user_id": user_id},
    )
    return _session(row) if row else None


async def count_sessions(tx: Transaction, user_id: str) -> dict[SessionState, int]:
    """Number of sessions by state."""
    rows = await tx.fetch_all(
        "SELECT state, COUNT(*) AS sessions FROM sessions WHERE user_id = :user_id GROUP BY state", {"user_id": user_id}
    )
    return {SessionState(row["state"]): row["sessions"] for row in rows}


async def newest_sessions(tx: Transaction, user_id: str, state: SessionState, limit: int) -> list[Session]:
    """Sessions of a state: open ones by start, completed ones by completion, newest first."""
    rows = await tx.fetch_all(
        "SELECT * FROM sessions WHERE user_id = :user_id AND state = :state"
        " ORDER BY COALESCE(complete_us, start_us) DESC, session_id DESC LIMIT :limit",
        {"user_id": user_id, "state": int(state), "limit": limit},
    )
    return [_session(row) for row in rows]
