"""Statements about users: activity, mastery, badges."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mesh.db import Row, Transaction


class UserDay(NamedTuple):
    """A user's events of one day (UTC)."""

    user_id: str
    day_us: int
    events: int
    first_us: int
    last_us: int


class Activity(NamedTuple):
    """A user's events so far."""

    event_count: int
    active_days: int
    first_us: int
    last_us: int


class Mastery(NamedTuple):
    """What learning told last of a user's skill."""

    user_id: str
    domain: str
    skill: str
    level: float
    level_low: float
    time_us: int


class Earned(NamedTuple):
    """A badge that a user has earned."""

    user_id: str
    badge_id: str
    name: str
    description: str
    earned_us: int
    event_id: str


class Moved(NamedTuple):
    """Where a user stands now with a badge, and the items that came in."""

    user_id: str
    badge_id: str
    value: float
    new_items: frozenset[str]


async def add_user_days(tx: Transaction, days: Iterable[UserDay]) -> None:
    """Adds to the users' days."""
    await tx.execute_many(
        "INSERT INTO user_day (user_id, day_us, event_count, first_us, last_us)"
        " VALUES (:user_id, :day_us, :events, :first_us, :last_us)"
        " ON CONFLICT (user_id, day_us) DO UPDATE SET event_count = user_day.event_count + excluded.event_count,"
        " first_us = CASE WHEN excluded.first_us < user_day.first_us THEN excluded.first_us ELSE user_day.first_us END,"
        " last_us = CASE WHEN excluded.last_us > user_day.last_us THEN excluded.last_us ELSE user_day.last_us END",
        [day._asdict() for day in days],
    )


async def forget_user_days(tx: Transaction, before_us: int) -> int:
    """Drops days before a time; gives their number."""
    return await tx.execute("DELETE FROM user_day WHERE day_us < :before_us", {"before_us": before_us})


async def active_users(tx: Transaction, first_day_us: int, end_us: int) -> int:
    """Users with an event from the first day on and before the end; days count whole."""
    row = await tx.fetch_one(
        "SELECT COUNT(*) AS n FROM (SELECT user_id FROM user_day WHERE day_us >= :first_day_us AND day_us < :end_us"
        " UNION SELECT user_id FROM heard_event WHERE user_id <> '' AND time_us >= :first_day_us AND time_us < :end_us) AS active",
        {"first_day_us": first_day_us, "end_us": end_us},
    )
    return int(row["n"]) if row else 0


async def activity(tx: Transaction, user_id: str, day_width_us: int) -> Activity:
    """A user's events so far, those that wait to be folded too."""
    row = await tx.fetch_one(
        "SELECT COALESCE(SUM(n), 0), COUNT(DISTINCT day_us), COALESCE(MIN(first_us), 0), COALESCE(MAX(last_us), 0) FROM ("
        "SELECT day_us, event_count AS n, first_us, last_us FROM user_day WHERE user_id = :user_id UNION ALL "
        "SELECT time_us - time_us % :day_width_us AS day_us, 1 AS n, time_us AS first_us, time_us AS last_us"
        " FROM heard_event WHERE user_id = :user_id) AS seen",
        {"user_id": user_id, "day_width_us": day_width_us},
    )
    return Activity(*row) if row else Activity(0, 0, 0, 0)


async def put_mastery(tx: Transaction, mastery: Mastery, now_us: int) -> None:
    """Keeps a skill's mastery unless a newer one is known; one that is later than now is older: the clock was set back."""
    await tx.execute(
        "INSERT INTO user_mastery (user_id, domain, skill, level, level_low, time_us)"
        " VALUES (:user_id, :domain, :skill, :level, :level_low, :time_us)"
        " ON CONFLICT (user_id, domain, skill) DO UPDATE SET level = excluded.level, level_low = excluded.level_low,"
        " time_us = excluded.time_us WHERE excluded.time_us >= user_mastery.time_us OR user_mastery.time_us > :now_us",
        {**mastery._asdict(), "now_us": now_us},
    )


async def masteries(tx: Transaction, user_id: str, limit: int) -> list[Mastery]:
    """A user's masteries by domain and skill."""
    rows = await tx.fetch_all(
        "SELECT user_id, domain, skill, level, level_low, time_us FROM user_mastery WHERE user_id = :user_id"
        " ORDER BY domain, skill LIMIT :limit",
        {"user_id": user_id, "limit": limit},
    )
    return [Mastery(*row) for row in rows]


async def items(tx: Transaction, user_id: str, badge_id: str) -> frozenset[str]:
    """The distinct values or days that a rule has counted for a user."""
    rows = await tx.fetch_all(
        "SELECT item FROM badge_item WHERE user_id = :user_id AND badge_id = :badge_id", {"user_id": user_id, "badge_id": badge_id}
    )
    return frozenset(row["item"] for row in rows)


async def standing(tx: Transaction, user_id: str) -> tuple[dict[str, float], set[str]]:
    """A user's values by badge, and the ids of the badges earned."""
    rows = await tx.fetch_all(
        "SELECT badge_id, value, 0 AS earned FROM badge_progress WHERE user_id = :user_id UNION ALL "
        "SELECT badge_id, 0 AS value, 1 AS earned FROM badge_earned WHERE user_id = :user_id",
        {"user_id": user_id},
    )
    values = {row["badge_id"]: row["value"] for row in rows if not row["earned"]}
    return values, {row["badge_id"] for row in rows if row["earned"]}


async def put_progress(tx: Transaction, moved: Sequence[Moved]) -> None:
    """Keeps where a user stands now, with the items that came in."""
    await tx.execute_many(
        "INSERT INTO badge_progress (user_id, badge_id, value) VALUES (:user_id, :badge_id, :value)"
        " ON CONFLICT (user_id, badge_id) DO UPDATE SET value = excluded.value",
        [{"user_id": one.user_id, "badge_id": one.badge_id, "value": one.value} for one in moved],
    )
    items = [{"user_id": one.user_id, "badge_id": one.badge_id, "item": item} for one in moved for item in one.new_items]
    if items:
        await tx.execute_many(
            "INSERT INTO badge_item (user_id, badge_id, item) VALUES (:user_id, :badge_id, :item) ON CONFLICT DO NOTHING", items
        )


async def forget_items(tx: Transaction) -> int:
    """Drops the items of badges that are earned; gives their number."""
    return await tx.execute(
        "DELETE FROM badge_item WHERE EXISTS (SELECT 1 FROM badge_earned"
        " WHERE badge_earned.user_id = badge_item.user_id AND badge_earned.badge_id = badge_item.badge_id)"
    )


async def add_earned(tx: Transaction, earned: Earned) -> bool:
    """Gives a user a badge; False when the user has it already."""
    fresh = await tx.execute(
        "INSERT INTO badge_earned (user_id, badge_id, name, description, earned_us, event_id)"
        " VALUES (:user_id, :badge_id, :name, :description, :earned_us, :event_id) ON CONFLICT DO NOTHING",
        earned._asdict(),
    )
    return fresh > 0


async def earned_badges(tx: Transaction, user_id: str, after: tuple[int, str], limit: int) -> list[Earned]:
    """A user's badges, oldest first, after (earned_us, badge_id)."""
    rows = await tx.fetch_all(
        "SELECT user_id, badge_id, name, description, earned_us, event_id FROM badge_earned WHERE user_id = :user_id"
        " AND (earned_us > :earned_us OR (earned_us = :earned_us AND badge_id > :badge_id))"
        " ORDER BY earned_us, badge_id LIMIT :limit",
        {"user_id": user_id, "earned_us": after[0], "badge_id": after[1], "limit": limit},
    )
    return [_earned(row) for row in rows]


def _earned(row: Row) -> Earned:
    return Earned(*row)
