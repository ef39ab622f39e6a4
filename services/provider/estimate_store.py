"""Every SQL statement about what was learned of models' answers, each a named function inside the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import asdict

from mesh.clock import to_us
from mesh.db import Row, Transaction
from services.provider.estimating import Learned


async def learned(tx: Transaction, model: tuple[str, str], user_id: str) -> tuple[Learned, Learned]:
    """What was learned of a model from everybody's calls, and from those of one user."""
    return await _of(tx, model, ""), await _of(tx, model, user_id) if user_id else Learned()


async def _of(tx: Transaction, model: tuple[str, str], user_id: str) -> Learned:
    async def load() -> Learned:
        row = await tx.fetch_one(
            "SELECT calls, mean, variance, z, ratio, covered, characters_per_token FROM estimate WHERE provider_id = :provider_id"
            " AND model = :model AND user_id = :user_id",
            {"provider_id": model[0], "model": model[1], "user_id": user_id},
        )
        return _learned(row) if row else Learned()

    return await tx.remembered("estimate", (*model, user_id), load)


async def put(tx: Transaction, model: tuple[str, str], seen: Mapping[str, Learned], now: datetime) -> None:
    """Keeps what is known after one more call, by user; "" is everybody."""
    await tx.execute_many(
        "INSERT INTO estimate (provider_id, model, user_id, calls, mean, variance, z, ratio, covered, characters_per_token,"
        " seen_us) VALUES (:provider_id, :model, :user_id, :calls, :mean, :variance, :z, :ratio, :covered,"
        " :characters_per_token, :seen_us)"
        " ON CONFLICT (provider_id, model, user_id) DO UPDATE SET calls = excluded.calls, mean = excluded.mean,"
        " variance = excluded.variance, z = excluded.z, ratio = excluded.ratio, covered = excluded.covered,"
        " characters_per_token = excluded.characters_per_token, seen_us = excluded.seen_us",
        [
            {"provider_id": model[0], "model": model[1], "user_id": user_id, **asdict(learned), "seen_us": to_us(now)}
            for user_id, learned in seen.items()
        ],
        now={(*model, user_id): learned for user_id, learned in seen.items()},
    )


async def page(
    tx: Transaction, provider_id: str, after: tuple[str, str, str], limit: int
) -> list[tuple[tuple[str, str], str, Learned]]:
    """At most `limit` rows of one provider or of all (""), by provider, model and user, those after the triple."""
    rows = await tx.fetch_all(
        "SELECT provider_id, model, user_id, calls, mean, variance, z, ratio, covered, characters_per_token FROM estimate"
        " WHERE (:provider_id = '' OR provider_id = :provider_id)"
        " AND (provider_id, model, user_id) > (:after_provider, :after_model, :after_user)"
        " ORDER BY provider_id, model, user_id LIMIT :limit",
        {
            "provider_id": provider_id,
            "after_provider": after[0],
            "after_model": after[1],
            "after_user": after[2],
            "limit": limit,
        },
    )
    return [((row["provider_id"], row["model"]), row["user_id"], _learned(row)) for row in rows]


async def forget(tx: Transaction, before: datetime, limit: int) -> int:
    """Drops at most `limit` users' rows that no call has touched since; gives their number. Those of everybody stay."""
    return await tx.execute(
        "DELETE FROM estimate WHERE (provider_id, model, user_id) IN (SELECT provider_id, model, user_id FROM estimate"
        " WHERE seen_us < :before_us AND user_id <> '' LIMIT :limit)",
        {"before_us": to_us(before), "limit": limit},
    )


def _learned(row: Row) -> Learned:
    return Learned(row["calls"], row["mean"], row["variance"], row["z"], row["ratio"], row["covered"], row["characters_per_token"])
