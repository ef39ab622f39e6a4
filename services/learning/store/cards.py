"""Statements about cards."""

from dataclasses import dataclass
from datetime import datetime

from fsrs import State

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.learning.curriculum import Exercise
from services.learning.memory import Memory
from services.learning.store.columns import exercise_of, exercise_params, optional_time


@dataclass(frozen=True)
class Card:
    """An exercise with a learner's memory of it."""

    exercise: Exercise
    memory: Memory


@dataclass(frozen=True)
class Workload:
    """Numbers of cards: due now, due until the horizon, all; and when the next one comes due."""

    due_now: int
    due_soon: int
    cards: int
    next_due: datetime | None


def _card(row: Row) -> Card:
    memory = Memory(
        State(row["memory_state"]),
        row["memory_step"],
        row["stability"],
        row["memory_difficulty"],
        from_us(row["due_us"]),
        from_us(row["last_review_us"]),
        row["reviews"],
        row["lapses"],
    )
    return Card(exercise_of(row), memory)


async def put_card(tx: Transaction, user_id: str, card: Card) -> None:
    """Keeps a card as it stands now."""
    memory = card.memory
    await tx.execute(
        "INSERT INTO cards (user_id, card_id, domain, skill, prompt, rubric, difficulty, memory_state, memory_step, stability,"
        " memory_difficulty, due_us, last_review_us, reviews, lapses)"
        " VALUES (:user_id, :card_id, :domain, :skill, :prompt, :rubric, :difficulty, :memory_state, :memory_step, :stability,"
        " :memory_difficulty, :due_us, :last_review_us, :reviews, :lapses)"
        " ON CONFLICT (user_id, card_id) DO UPDATE SET prompt = excluded.prompt, rubric = excluded.rubric,"
        " difficulty = excluded.difficulty, memory_state = excluded.memory_state, memory_step = excluded.memory_step,"
        " stability = excluded.stability, memory_difficulty = excluded.memory_difficulty, due_us = excluded.due_us,"
        " last_review_us = excluded.last_review_us, reviews = excluded.reviews, lapses = excluded.lapses",
        {
            **exercise_params(card.exercise),
            "user_id": user_id,
            "memory_state": int(memory.state),
            "memory_step": memory.step,
            "stability": memory.stability,
            "memory_difficulty": memory.difficulty,
            "due_us": to_us(memory.due),
            "last_review_us": to_us(memory.last_review),
            "reviews": memory.reviews,
            "lapses": memory.lapses,
        },
    )


async def find_card(tx: Transaction, user_id: str, card_id: str) -> Card | None:
    """One card of the user."""
    row = await tx.fetch_one(
        "SELECT * FROM cards WHERE user_id = :user_id AND card_id = :card_id", {"user_id": user_id, "card_id": card_id}
    )
    return _card(row) if row else None


async def cards_of_domain(tx: Transaction, user_id: str, domain: str) -> list[Card]:
    """All cards that the user has in a domain, by id."""
    rows = await tx.fetch_all(
        "SELECT * FROM cards WHERE user_id = :user_id AND domain = :domain ORDER BY card_id", {"user_id": user_id, "domain": domain}
    )
    return [_card(row) for row in rows]


async def due_cards(tx: Transaction, user_id: str, domain: str, until_us: int, after: tuple[int, str], limit: int) -> list[Card]:
    """Cards due until a time, of one domain or ("") all, the longest waiting first, after (due_us, card id)."""
    rows = await tx.fetch_all(
        "SELECT * FROM cards WHERE user_id = :user_id AND (:domain = '' OR domain = :domain) AND due_us <= :until_us"
        " AND (due_us > :after_us OR (due_us = :after_us AND card_id > :after_id)) ORDER BY due_us, card_id LIMIT :limit",
        {"user_id": user_id, "domain": domain, "until_us": until_us, "after_us": after[0], "after_id": after[1], "limit": limit},
    )
    return [_card(row) for row in rows]


async def workload(tx: Transaction, user_id: str, now: datetime, soon: datetime) -> Workload:
    """Counts the user's cards by when they are due."""
    row = await tx.fetch_one(
        "SELECT COUNT(*) AS cards, COALESCE(SUM(CASE WHEN due_us <= :now_us THEN 1 ELSE 0 END), 0) AS due_now,"
        " COALESCE(SUM(CASE WHEN due_us <= :soon_us THEN 1 ELSE 0 END), 0) AS due_soon,"
        " MIN(CASE WHEN due_us > :now_us THEN due_us END) AS next_us FROM cards WHERE user_id = :user_id",
        {"user_id": user_id, "now_us": to_us(now), "soon_us": to_us(soon)},
    )
    if row is None:
        raise AssertionError("an aggregate without GROUP BY always has a row")
    return Workload(row["due_now"], row["due_soon"], row["cards"], optional_time(row["next_us"]))


async def by_due(tx: Transaction, user_id: str, domain: str, limit: int) -> tuple[list[Card], int]:
    """The cards that are due first, in every domain for "", and how many there are in all."""
    of_whom = {"user_id": user_id, "domain": domain}
    rows = await tx.fetch_all(
        "SELECT * FROM cards WHERE user_id = :user_id AND (:domain = '' OR domain = :domain) ORDER BY due_us, card_id LIMIT :limit",
        {**of_whom, "limit": limit},
    )
    count = await tx.fetch_one(
        "SELECT COUNT(*) AS cards FROM cards WHERE user_id = :user_id AND (:domain = '' OR domain = :domain)", of_whom
    )
    return [_card(row) for row in rows], int(count["cards"]) if count else 0


async def count_cards(tx: Transaction, user_id: str) -> tuple[int, int]:
    """How many cards a user has, and how many reviews of them."""
    row = await tx.fetch_one(
        "SELECT COUNT(*) AS cards, COALESCE(SUM(reviews), 0) AS reviews FROM cards WHERE user_id = :user_id", {"user_id": user_id}
    )
    return (int(row["cards"]), int(row["reviews"])) if row else (0, 0)
