"""Every SQL statement about policies, aliases, affinities and what is learned from, each a named function."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.policy import Alias, Policy, policy_from_json, targets_from_json, targets_to_json

Key = tuple[str, str]


class Prompt(Struct, frozen=True):
    """What a selection's prompt looked like: by which embedding, and its packed features."""

    embedding: str
    features: bytes


class Observed(Struct, frozen=True):
    """One outcome: `score` 0..1 of a model, what it counts, and the prompt when it is known."""

    outcome_id: str
    time: datetime
    model: Key
    score: float
    weight: float
    prompt: Prompt | None = None


async def put_policy(tx: Transaction, policy: Policy, created: datetime, updated: datetime) -> None:
    """Makes a policy or replaces the one of that id."""
    await tx.execute(
        "INSERT INTO selection_policy (policy_id, definition, created_us, updated_us)"
        " VALUES (:policy_id, :definition, :created_us, :updated_us) ON CONFLICT (policy_id) DO UPDATE"
        " SET definition = excluded.definition, updated_us = excluded.updated_us",
        {
            "policy_id": policy.policy_id,
            "definition": policy.to_json(),
            "created_us": to_us(created),
            "updated_us": to_us(updated),
        },
    )


async def get_policy(tx: Transaction, policy_id: str) -> Policy | None:
    """The policy of that id."""

    async def load() -> Policy | None:
        row = await tx.fetch_one("SELECT * FROM selection_policy WHERE policy_id = :policy_id", {"policy_id": policy_id})
        return _policy(row) if row else None

    return await tx.remembered("selection_policy", policy_id, load)


async def list_policies(tx: Transaction, after: str, limit: int) -> list[Policy]:
    """At most `limit` policies after that id."""
    rows = await tx.fetch_all(
        "SELECT * FROM selection_policy WHERE policy_id > :after ORDER BY policy_id LIMIT :limit", {"after": after, "limit": limit}
    )
    return [_policy(row) for row in rows]


def _policy(row: Row) -> Policy:
    return policy_from_json(row["definition"], from_us(row["created_us"]), from_us(row["updated_us"]))


async def count_policies(tx: Transaction) -> int:
    """How many policies there are."""
    row = await tx.fetch_one("SELECT COUNT(*) AS policies FROM selection_policy")
    return int(row["policies"]) if row else 0


async def delete_policy(tx: Transaction, policy_id: str) -> bool:
    """Deletes a policy; False when there is none."""
    return await tx.execute("DELETE FROM selection_policy WHERE policy_id = :policy_id", {"policy_id": policy_id}) == 1


async def put_alias(tx: Transaction, alias: Alias) -> None:
    """Makes an alias or replaces the one of that name."""
    await tx.execute(
        "INSERT INTO model_alias (alias, targets, created_us, updated_us) VALUES (:alias, :targets, :created_us, :updated_us)"
        " ON CONFLICT (alias) DO UPDATE SET targets = excluded.targets, updated_us = excluded.updated_us",
        {
            "alias": alias.alias,
            "targets": targets_to_json(alias.targets),
            "created_us": to_us(alias.created),
            "updated_us": to_us(alias.updated),
        },
    )


async def get_alias(tx: Transaction, alias: str) -> Alias | None:
    """The alias of that name."""

    async def load() -> Alias | None:
        row = await tx.fetch_one("SELECT * FROM model_alias WHERE alias = :alias", {"alias": alias})
        return _alias(row) if row else None

    return await tx.remembered("model_alias", alias, load)


async def list_aliases(tx: Transaction, after: str, limit: int) -> list[Alias]:
    """At most `limit` aliases after that name."""
    rows = await tx.fetch_all(
        "SELECT * FROM model_alias WHERE alias > :after ORDER BY alias LIMIT :limit", {"after": after, "limit": limit}
    )
    return [_alias(row) for row in rows]


def _alias(row: Row) -> Alias:
    return Alias(row["alias"], targets_from_json(row["targets"]), from_us(row["created_us"]), from_us(row["updated_us"]))


async def count_aliases(tx: Transaction) -> int:
    """How many aliases there are."""
    row = await tx.fetch_one("SELECT COUNT(*) AS aliases FROM model_alias")
    return int(row["aliases"]) if row else 0


async def delete_alias(tx: Transaction, alias: str) -> bool:
    """Deletes an alias; False when there is none."""
    return await tx.execute("DELETE FROM model_alias WHERE alias = :alias", {"alias": alias}) == 1


async def session_model(tx: Transaction, session_id: str, since: datetime) -> Key | None:
    """The model that a session was given last, unless that is too long ago."""
    row = await tx.fetch_one(
        "SELECT provider_id, model FROM session_affinity WHERE session_id = :session_id AND time_us >= :since_us",
        {"session_id": session_id, "since_us": to_us(since)},
    )
    return (row["provider_id"], row["model"]) if row else None


async def note_session(tx: Transaction, session_id: str, model: Key, now: datetime, forget: datetime) -> None:
    """Notes the model of a session, and forgets sessions older than `forget`."""
    await tx.execute(
        "INSERT INTO session_affinity (session_id, provider_id, model, time_us) VALUES (:session_id, :provider_id, :model, :now_us)"
        " ON CONFLICT (session_id) DO UPDATE SET provider_id = excluded.provider_id, model = excluded.model,"
        " time_us = excluded.time_us",
        {"session_id": session_id, "provider_id": model[0], "model": model[1], "now_us": to_us(now)},
    )
    await tx.execute("DELETE FROM session_affinity WHERE time_us < :forget_us", {"forget_us": to_us(forget)})


async def cached_at(tx: Transaction, prefix_key: str, since: datetime) -> set[Key]:
    """Models that were sent a prompt with this beginning lately."""
    rows = await tx.fetch_all(
        "SELECT provider_id, model FROM prefix_affinity WHERE prefix_key = :prefix_key AND time_us >= :since_us",
        {"prefix_key": prefix_key, "since_us": to_us(since)},
    )
    return {(row["provider_id"], row["model"]) for row in rows}


async def note_prefix(tx: Transaction, prefix_key: str, model: Key, now: datetime, forget: datetime) -> None:
    """Notes that a model is sent a prompt with this beginning, and forgets what is older than `forget`."""
    await tx.execute(
        "INSERT INTO prefix_affinity (prefix_key, provider_id, model, time_us) VALUES (:prefix_key, :provider_id, :model, :now_us)"
        " ON CONFLICT (prefix_key, provider_id, model) DO UPDATE SET time_us = excluded.time_us",
        {"prefix_key": prefix_key, "provider_id": model[0], "model": model[1], "now_us": to_us(now)},
    )
    await tx.execute("DELETE FROM prefix_affinity WHERE time_us < :forget_us", {"forget_us": to_us(forget)})


async def put_prompt(tx: Transaction, selection_id: str, prompt: Prompt, now: datetime, forget: datetime) -> None:
    """Keeps what a selection's prompt looked like, and forgets those that are older than `forget`."""
    await tx.execute(
        "INSERT INTO selection_prompt (selection_id, time_us, embedding, features)"
        " VALUES (:selection_id, :now_us, :embedding, :features) ON CONFLICT (selection_id) DO NOTHING",
        {"selection_id": selection_id, "now_us": to_us(now), "embedding": prompt.embedding, "features": prompt.features},
    )
    await tx.execute("DELETE FROM selection_prompt WHERE time_us < :forget_us", {"forget_us": to_us(forget)})


async def get_prompt(tx: Transaction, selection_id: str) -> Prompt | None:
    """What a selection's prompt looked like; None when it is not known (any more)."""
    row = await tx.fetch_one(
        "SELECT embedding, features FROM selection_prompt WHERE selection_id = :selection_id", {"selection_id": selection_id}
    )
    return Prompt(row["embedding"], bytes(row["features"])) if row else None


async def put_explanation(tx: Transaction, selection_id: str, explanation: bytes, kept: int) -> None:
    """Keeps why a selection chose what it chose, and forgets all but the newest `kept`."""
    await tx.execute(
        "INSERT INTO selection_explanation (selection_id, explanation) VALUES (:selection_id, :explanation)",
        {"selection_id": selection_id, "explanation": explanation},
    )
    await tx.execute(
        "DELETE FROM selection_explanation WHERE number <= (SELECT MAX(number) FROM selection_explanation) - :kept", {"kept": kept}
    )


async def get_explanation(tx: Transaction, selection_id: str) -> bytes | None:
    """Why a selection chose what it chose; None when that is not kept (any more)."""
    row = await tx.fetch_one(
        "SELECT explanation FROM selection_explanation WHERE selection_id = :selection_id", {"selection_id": selection_id}
    )
    return bytes(row["explanation"]) if row else None


async def put_outcome(tx: Transaction, outcome: Observed, limit: int) -> None:
    """Adds an outcome or replaces the one of that id; keeps the newest `limit`. Counts the change."""
    prompt = outcome.prompt or Prompt("", b"")
    await tx.execute(
        "INSERT INTO outcome (outcome_id, time_us, provider_id, model, score, weight, embedding, features)"
        " VALUES (:outcome_id, :time_us, :provider_id, :model, :score, :weight, :embedding, :features)"
        " ON CONFLICT (outcome_id) DO UPDATE SET time_us = excluded.time_us, score = excluded.score, weight = excluded.weight",
        {
            "outcome_id": outcome.outcome_id,
            "time_us": to_us(outcome.time),
            "provider_id": outcome.model[0],
            "model": outcome.model[1],
            "score": outcome.score,
            "weight": outcome.weight,
            "embedding": prompt.embedding,
            "features": prompt.features,
        },
    )
    await tx.execute(
        "DELETE FROM outcome WHERE outcome_id IN"
        " (SELECT outcome_id FROM outcome ORDER BY time_us DESC, outcome_id DESC LIMIT 1000 OFFSET :limit)",
        {"limit": limit},
    )
    await tx.execute("UPDATE outcome_count SET changes = changes + 1 WHERE name = 'outcome'")


async def outcome_changes(tx: Transaction) -> int:
    """A number that grows with every outcome, whichever process it came to."""
    row = await tx.fetch_one("SELECT changes FROM outcome_count WHERE name = 'outcome'")
    return int(row["changes"]) if row else 0


async def outcomes(tx: Transaction) -> Sequence[Observed]:
    """Every outcome that is remembered, the oldest first."""
    rows = await tx.fetch_all(
        "SELECT outcome_id, time_us, provider_id, model, score, weight, embedding, features"
        " FROM outcome ORDER BY time_us, outcome_id"
    )
    return [
        Observed(
            row["outcome_id"],
            from_us(row["time_us"]),
            (row["provider_id"], row["model"]),
            row["score"],
            row["weight"],
            Prompt(row["embedding"], bytes(row["features"])) if row["embedding"] else None,
        )
        for row in rows
    ]
