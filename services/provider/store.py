"""Every SQL statement about selections, feedback and health, each a named function inside the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.health import ModelHealth, ProviderHealth, State
from services.provider.labels import Labels
from services.provider.quality import Feedback

_AFTER_ALL_IDS = "~"
# the key under which a whole table is remembered
ALL = ""
# the key under which of every model's row the health alone is
HEALTHS = "healths"


class Selection(Struct, frozen=True):
    """One choice that was made; cost in nano units."""

    selection_id: str
    time: datetime
    labels: Labels
    focus_area: str
    strategy: int
    cost: int
    tokens: int


async def insert_selection(tx: Transaction, selection: Selection) -> None:
    """Keeps a choice."""
    await tx.execute(
        "INSERT INTO selection (selection_id, time_us, provider_id, model, user_id, focus_area, strategy, cost_nanos, tokens)"
        " VALUES (:selection_id, :time_us, :provider_id, :model, :user_id, :focus_area, :strategy, :cost_nanos, :tokens)",
        {
            "selection_id": selection.selection_id,
            "time_us": to_us(selection.time),
            "provider_id": selection.labels.provider_id,
            "model": selection.labels.model,
            "user_id": selection.labels.user_id,
            "focus_area": selection.focus_area,
            "strategy": selection.strategy,
            "cost_nanos": selection.cost,
            "tokens": selection.tokens,
        },
    )


async def get_selection(tx: Transaction, selection_id: str) -> Selection | None:
    """The choice of that id."""
    row = await tx.fetch_one("SELECT * FROM selection WHERE selection_id = :selection_id", {"selection_id": selection_id})
    return _selection(row) if row else None


async def list_selections(tx: Transaction, user_id: str, provider_id: str, before: str, limit: int) -> list[Selection]:
    """Choices, newest first (their ids grow with time), those before an id; an empty filter does not restrict."""
    wanted = {"user_id": user_id, "provider_id": provider_id, "before": before or _AFTER_ALL_IDS, "limit": limit}
    # three statements, so that each has its index
    if user_id:
        rows = await tx.fetch_all(
            "SELECT * FROM selection WHERE user_id = :user_id AND (:provider_id = '' OR provider_id = :provider_id)"
            " AND selection_id < :before ORDER BY selection_id DESC LIMIT :limit",
            wanted,
        )
    elif provider_id:
        rows = await tx.fetch_all(
            "SELECT * FROM selection WHERE provider_id = :provider_id AND selection_id < :before"
            " ORDER BY selection_id DESC LIMIT :limit",
            wanted,
        )
    else:
        rows = await tx.fetch_all(
            "SELECT * FROM selection WHERE selection_id < :before ORDER BY selection_id DESC LIMIT :limit", wanted
        )
    return [_selection(row) for row in rows]


def _selection(row: Row) -> Selection:
    labels = Labels.of(provider=row["provider_id"], model=row["model"], user=row["user_id"])
    return Selection(
        row["selection_id"], from_us(row["time_us"]), labels, row["focus_area"], row["strategy"], row["cost_nanos"], row["tokens"]
    )


async def feedback_in(tx: Transaction, domain: str) -> dict[tuple[str, str], Feedback]:
    """What models earned in a domain, by provider and model."""

    async def load() -> dict[tuple[str, str], Feedback]:
        found = await tx.fetch_all(
            "SELECT provider_id, model, scores, total FROM feedback WHERE domain = :domain", {"domain": domain}
        )
        return _feedback(found)

    return await tx.remembered("feedback", domain, load)


async def feedback_overall(tx: Transaction) -> dict[tuple[str, str], Feedback]:
    """What models earned in all domains together, by provider and model."""

    async def load() -> dict[tuple[str, str], Feedback]:
        found = await tx.fetch_all(
            "SELECT provider_id, model, SUM(scores) AS scores, SUM(total) AS total FROM feedback GROUP BY provider_id, model"
        )
        return _feedback(found)

    return await tx.remembered("feedback", None, load)


def _feedback(rows: list[Row]) -> dict[tuple[str, str], Feedback]:
    return {(row["provider_id"], row["model"]): Feedback(row["scores"], row["total"]) for row in rows}


async def put_feedback(tx: Transaction, model: tuple[str, str], domain: str, feedback: Feedback) -> None:
    """Sets what a model earned in a domain."""
    await tx.execute(
        "INSERT INTO feedback (provider_id, model, domain, scores, total) VALUES (:provider_id, :model, :domain, :scores, :total)"
        " ON CONFLICT (provider_id, model, domain) DO UPDATE SET scores = excluded.scores, total = excluded.total",
        {"provider_id": model[0], "model": model[1], "domain": domain, "scores": feedback.count, "total": feedback.total},
    )


async def model_healths(tx: Transaction) -> dict[tuple[str, str], ModelHealth]:
    """What was seen of models, by provider and model."""

    async def load() -> dict[tuple[str, str], ModelHealth]:
        return {model: model_health(row) for model, row in (await model_rows(tx)).items()}

    return await tx.remembered("model_health", HEALTHS, load)


async def model_rows(tx: Transaction) -> Mapping[tuple[str, str], Mapping[str, Any] | Row]:
    """Everything that was seen of models, as it is stored."""

    async def load() -> Mapping[tuple[str, str], Mapping[str, Any] | Row]:
        return {(row["provider_id"], row["model"]): row for row in await tx.fetch_all("SELECT * FROM model_health")}

    return await tx.remembered("model_health", ALL, load)


def model_health(row: Mapping[str, Any] | Row) -> ModelHealth:
    """The health in such a row."""
    return ModelHealth(row["uptime"], row["tokens_per_second"], row["outcomes"])


async def provider_healths(tx: Transaction) -> dict[str, tuple[ProviderHealth, datetime | None]]:
    """What was seen of providers, and when their state changed last, by id."""

    async def load() -> dict[str, tuple[ProviderHealth, datetime | None]]:
        return {row["provider_id"]: _provider_health(row) for row in await tx.fetch_all("SELECT * FROM provider_health")}

    return await tx.remembered("provider_health", ALL, load)


async def provider_health(tx: Transaction, provider_id: str) -> tuple[ProviderHealth, datetime | None]:
    """The same of one provider."""
    return (await provider_healths(tx)).get(provider_id, (ProviderHealth(), None))


async def put_provider_health(tx: Transaction, provider_id: str, health: ProviderHealth, changed: datetime | None) -> None:
    """Sets what was seen of a provider and when its state changed last."""
    await tx.execute(
        "INSERT INTO provider_health (provider_id, failures_in_row, reachable, changed_us, told)"
        " VALUES (:provider_id, :failures_in_row, :reachable, :changed_us, :told) ON CONFLICT (provider_id) DO UPDATE"
        " SET failures_in_row = excluded.failures_in_row, reachable = excluded.reachable, changed_us = excluded.changed_us,"
        " told = excluded.told",
        {
            "provider_id": provider_id,
            "failures_in_row": health.failures_in_row,
            "reachable": int(health.reachable),
            "told": health.told or 0,
            "changed_us": None if changed is None else to_us(changed),
        },
    )


def _provider_health(row: Row) -> tuple[ProviderHealth, datetime | None]:
    told = State(row["told"]) if row["told"] else None
    changed = None if row["changed_us"] is None else from_us(row["changed_us"])
    return ProviderHealth(row["failures_in_row"], bool(row["reachable"]), told), changed
