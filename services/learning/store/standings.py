"""Statements about mastery: students, their skills, how hard skills are."""

from dataclasses import dataclass
from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.learning.learner import PractisedSkill, Student
from services.learning.mastery import Belief


def _belief(row: Row) -> Belief:
    return Belief(row["mean"], row["variance"])


def _practised(row: Row) -> PractisedSkill:
    return PractisedSkill(row["domain"], row["skill"], _belief(row), row["reviews"], from_us(row["update_us"]))


async def find_student(tx: Transaction, user_id: str) -> Student | None:
    """What is believed of a learner; None before the first feedback."""
    row = await tx.fetch_one("SELECT mean, variance, update_us FROM students WHERE user_id = :user_id", {"user_id": user_id})
    return Student(_belief(row), from_us(row["update_us"])) if row else None


async def put_student(tx: Transaction, user_id: str, student: Student) -> None:
    """Keeps what is believed of a learner now."""
    await tx.execute(
        "INSERT INTO students (user_id, mean, variance, update_us) VALUES (:user_id, :mean, :variance, :update_us)"
        " ON CONFLICT (user_id) DO UPDATE SET mean = excluded.mean, variance = excluded.variance, update_us = excluded.update_us",
        {
            "user_id": user_id,
            "mean": student.belief.mean,
            "variance": student.belief.variance,
            "update_us": to_us(student.updated),
        },
    )


async def put_practised(tx: Transaction, user_id: str, practised: PractisedSkill) -> None:
    """Keeps what is believed of a learner's skill now."""
    await tx.execute(
        "INSERT INTO student_skills (user_id, domain, skill, mean, variance, reviews, update_us)"
        " VALUES (:user_id, :domain, :skill, :mean, :variance, :reviews, :update_us)"
        " ON CONFLICT (user_id, domain, skill) DO UPDATE SET mean = excluded.mean, variance = excluded.variance,"
        " reviews = excluded.reviews, update_us = excluded.update_us",
        {
            "user_id": user_id,
            "domain": practised.domain,
            "skill": practised.skill,
            "mean": practised.belief.mean,
            "variance": practised.belief.variance,
            "reviews": practised.reviews,
            "update_us": to_us(practised.updated),
        },
    )


async def put_difficulty(tx: Transaction, domain: str, skill: str, belief: Belief) -> None:
    """Keeps how hard a skill is believed to be now."""
    await tx.execute(
        "INSERT INTO skill_difficulties (domain, skill, mean, variance) VALUES (:domain, :skill, :mean, :variance)"
        " ON CONFLICT (domain, skill) DO UPDATE SET mean = excluded.mean, variance = excluded.variance",
        {"domain": domain, "skill": skill, "mean": belief.mean, "variance": belief.variance},
    )


async def practised_in(tx: Transaction, user_id: str, domain: str) -> dict[str, PractisedSkill]:
    """The skills of a domain that the user has practised, by id."""
    rows = await tx.fetch_all(
        "SELECT * FROM student_skills WHERE user_id = :user_id AND domain = :domain ORDER BY skill",
        {"user_id": user_id, "domain": domain},
    )
    return {row["skill"]: _practised(row) for row in rows}


async def difficulties_in(tx: Transaction, domain: str) -> dict[str, Belief]:
    """How hard the skills of a domain are, for those that anybody has practised."""
    rows = await tx.fetch_all("SELECT skill, mean, variance FROM skill_difficulties WHERE domain = :domain", {"domain": domain})
    return {row["skill"]: _belief(row) for row in rows}


async def domains_of(tx: Transaction, user_id: str, limit: int) -> list[str]:
    """The domains that the user practised last, at most `limit`, by name."""
    rows = await tx.fetch_all(
        "SELECT domain FROM student_skills WHERE user_id = :user_id GROUP BY domain"
        " ORDER BY MAX(update_us) DESC, domain LIMIT :limit",
        {"user_id": user_id, "limit": limit},
    )
    return sorted(row["domain"] for row in rows)


async def practised_page(
    tx: Transaction, user_id: str, domain: str, skill: str, after: tuple[str, str], limit: int
) -> list[PractisedSkill]:
    """Practised skills by (domain, skill) after a place, of one domain and skill or ("") all."""
    rows = await tx.fetch_all(
        "SELECT * FROM student_skills WHERE user_id = :user_id AND (:domain = '' OR domain = :domain)"
        " AND (:skill = '' OR skill = :skill) AND (domain > :after_domain OR (domain = :after_domain AND skill > :after_skill))"
        " ORDER BY domain, skill LIMIT :limit",
        {
            "user_id": user_id,
            "domain": domain,
            "skill": skill,
            "after_domain": after[0],
            "after_skill": after[1],
            "limit": limit,
        },
    )
    return [_practised(row) for row in rows]


@dataclass(frozen=True)
class Place:
    """Where a list of learners goes on: before this (time, user), as it stood when the newest training was that of `until_us`."""

    until_us: int
    before_us: int
    user_id: str


async def students_page(tx: Transaction, place: Place, limit: int) -> list[tuple[str, datetime, int]]:
    """Learners, when their last round was closed, and when it was as the list stood: whoever trained last then first."""
    params = {"until_us": place.until_us, "before_us": place.before_us, "user_id": place.user_id, "limit": limit}
    resting = await tx.fetch_all(
        "SELECT user_id, update_us, update_us AS then_us FROM students WHERE update_us <= :until_us"
        " AND (update_us < :before_us OR (update_us = :before_us AND user_id > :user_id))"
        " ORDER BY update_us DESC, user_id LIMIT :limit",
        params,
    )
    # who has trained since keeps the place that he had, so that he is neither passed over nor listed twice
    since = await tx.fetch_all(
        "SELECT user_id, update_us, then_us FROM (SELECT user_id, update_us, (SELECT MAX(close_us) FROM rounds"
        " WHERE rounds.user_id = students.user_id AND close_us <= :until_us) AS then_us FROM students"
        " WHERE update_us > :until_us) AS moved WHERE then_us < :before_us OR (then_us = :before_us AND user_id > :user_id)"
        " ORDER BY then_us DESC, user_id LIMIT :limit",
        params,
    )
    rows = sorted([*resting, *since], key=lambda row: (-row["then_us"], row["user_id"]))
    return [(row["user_id"], from_us(row["update_us"]), row["then_us"]) for row in rows[:limit]]
