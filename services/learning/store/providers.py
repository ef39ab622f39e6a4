"""Statements about which provider served which domain."""

from dataclasses import dataclass
from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Transaction


@dataclass(frozen=True)
class ProviderUse:
    """How often a model of a provider was chosen for a domain, and the scores that followed."""

    domain: str
    provider_id: str
    model: str
    selections: int
    feedbacks: int
    score_sum: float
    last_select: datetime


async def add_selection(
    tx: Transaction, user_id: str, domain: str, provider_id: str, model: str, moment: datetime, now: datetime, *, count: int = 1
) -> None:
    """Counts a selection, or with `count` 0 that a model served; `user_id` is "" for one on nobody's behalf.

    A time after `now`, of a clock that was ahead, stands only until a better one is known.
    """
    await tx.execute(
        "INSERT INTO provider_uses (user_id, domain, provider_id, model, selections, feedbacks, score_sum, select_us)"
        " VALUES (:user_id, :domain, :provider_id, :model, :count, 0, 0, :select_us)"
        " ON CONFLICT (user_id, domain, provider_id, model) DO UPDATE SET selections = provider_uses.selections + :count,"
        " select_us = CASE WHEN excluded.select_us > provider_uses.select_us OR provider_uses.select_us > :now_us"
        " THEN excluded.select_us ELSE provider_uses.select_us END",
        {
            "user_id": user_id,
            "domain": domain,
            "provider_id": provider_id,
            "model": model,
            "select_us": to_us(min(moment, now)),
            "now_us": to_us(now),
            "count": count,
        },
    )


async def latest(tx: Transaction, user_id: str, domain: str, since: datetime, now: datetime) -> tuple[str, str] | None:
    """(provider id, model) last selected for a domain, for this user or on nobody's behalf; None when none was since then."""
    row = await tx.fetch_one(
        "SELECT provider_id, model FROM provider_uses WHERE domain = :domain AND user_id IN (:user_id, '')"
        " AND select_us BETWEEN :since_us AND :now_us ORDER BY select_us DESC, provider_id, model LIMIT 1",
        {"user_id": user_id, "domain": domain, "since_us": to_us(since), "now_us": to_us(now)},
    )
    return (row["provider_id"], row["model"]) if row else None


async def add_feedback(tx: Transaction, user_id: str, domain: str, provider_id: str, model: str, score: float) -> None:
    """Counts a score of this user to a provider; the selection itself may stand on nobody's behalf."""
    await tx.execute(
        "INSERT INTO provider_uses (user_id, domain, provider_id, model, selections, feedbacks, score_sum, select_us)"
        " VALUES (:user_id, :domain, :provider_id, :model, 0, 1, :score, 0)"
        " ON CONFLICT (user_id, domain, provider_id, model) DO UPDATE SET feedbacks = provider_uses.feedbacks + 1,"
        " score_sum = provider_uses.score_sum + excluded.score_sum",
        {"user_id": user_id, "domain": domain, "provider_id": provider_id, "model": model, "score": score},
    )


async def uses(tx: Transaction, user_id: str, limit: int) -> list[ProviderUse]:
    """What the user may see: selections for the user and on nobody's behalf, and the user's own scores; by domain and how often."""
    rows = await tx.fetch_all(
        "SELECT domain, provider_id, model, SUM(selections) AS selections, SUM(feedbacks) AS feedbacks,"
        " SUM(score_sum) AS score_sum, MAX(select_us) AS select_us FROM provider_uses"
        " WHERE user_id IN (:user_id, '') GROUP BY domain, provider_id, model"
        " ORDER BY domain, selections DESC, provider_id, model LIMIT :limit",
        {"user_id": user_id, "limit": limit},
    )
    return [
        ProviderUse(
            row["domain"],
            row["provider_id"],
            row["model"],
            row["selections"],
            row["feedbacks"],
            row["score_sum"],
            from_us(row["select_us"]),
        )
        for row in rows
    ]
