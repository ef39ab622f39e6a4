"""Every SQL statement about usage, selections, feedback and health, each a named function inside the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.budget import Labels, Window
from services.provider.health import ModelHealth, ProviderHealth, State
from services.provider.money import NANOS
from services.provider.quality import Feedback
from services.provider.report import QUARTER, Group, Sums


@dataclass(frozen=True)
class Usage:
    """One call that was told; cost in nano units, latency in microseconds."""

    usage_id: str
    time: datetime
    labels: Labels
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cost: int
    cost_given: bool
    selection_id: str = ""
    outcome: int = 0
    latency_us: int = 0


@dataclass(frozen=True)
class Selection:
    """One choice that was made; cost in nano units."""

    selection_id: str
    time: datetime
    labels: Labels
    focus_area: str
    strategy: int
    cost: int
    tokens: int


@dataclass(frozen=True)
class Span:
    """What a report covers: from `start` (in) to `end` (out), of one user or of all ("")."""

    start: datetime
    end: datetime
    user_id: str = ""

    @property
    def params(self) -> dict[str, object]:
        """As statement parameters."""
        return {"start_us": to_us(self.start), "end_us": to_us(self.end), "user_id": self.user_id}


async def insert_usage(tx: Transaction, usage: Usage) -> None:
    """Adds a call to the ledger; units and nanos apart, so that no sum of them can leave 64 bits."""
    units, nanos = divmod(usage.cost, NANOS)
    await tx.execute(
        "INSERT INTO usage (usage_id, time_us, provider_id, model, user_id, selection_id, input_tokens, output_tokens,"
        " cached_input_tokens, cost_units, cost_nanos, cost_given, outcome, latency_us) VALUES (:usage_id, :time_us, :provider_id,"
        " :model, :user_id, :selection_id, :input_tokens, :output_tokens, :cached_input_tokens, :cost_units, :cost_nanos,"
        " :cost_given, :outcome, :latency_us)",
        {
            "usage_id": usage.usage_id,
            "time_us": to_us(usage.time),
            **vars(usage.labels),
            "selection_id": usage.selection_id,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "cost_units": units,
            "cost_nanos": nanos,
            "cost_given": int(usage.cost_given),
            "outcome": usage.outcome,
            "latency_us": usage.latency_us,
        },
    )


async def total(tx: Transaction, span: Span) -> Sums:
    """Everything in the span."""
    return _sums(
        await tx.fetch_one(
            "SELECT SUM(cost_units) AS units, SUM(cost_nanos) AS nanos, SUM(input_tokens) AS input_tokens,"
            " SUM(output_tokens) AS output_tokens, COUNT(*) AS calls FROM usage WHERE time_us >= :start_us AND time_us < :end_us"
            " AND (:user_id = '' OR user_id = :user_id)",
            span.params,
        )
    )


async def groups_by_provider(tx: Transaction, span: Span, after: str, limit: int) -> list[Group]:
    """At most `limit` rows by provider, those after the key `after`."""
    rows = await tx.fetch_all(
        "SELECT provider_id, SUM(cost_units) AS units, SUM(cost_nanos) AS nanos,"
        " SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens, COUNT(*) AS calls"
        " FROM usage WHERE time_us >= :start_us AND time_us < :end_us"
        " AND (:user_id = '' OR user_id = :user_id) AND provider_id > :after"
        " GROUP BY provider_id ORDER BY provider_id LIMIT :limit",
        {**span.params, "after": after, "limit": limit},
    )
    return [Group(row["provider_id"], _sums(row), row["provider_id"]) for row in rows]


async def groups_by_model(tx: Transaction, span: Span, after: tuple[str, str], limit: int) -> list[Group]:
    """At most `limit` rows by provider and model, those after the pair `after`."""
    rows = await tx.fetch_all(
        "SELECT provider_id, model, SUM(cost_units) AS units, SUM(cost_nanos) AS nanos,"
        " SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens, COUNT(*) AS calls"
        " FROM usage WHERE time_us >= :start_us AND time_us < :end_us"
        " AND (:user_id = '' OR user_id = :user_id)"
        " AND (provider_id > :provider_id OR (provider_id = :provider_id AND model > :model))"
        " GROUP BY provider_id, model ORDER BY provider_id, model LIMIT :limit",
        {**span.params, "provider_id": after[0], "model": after[1], "limit": limit},
    )
    return [Group(f"{row['provider_id']}/{row['model']}", _sums(row), row["provider_id"], row["model"]) for row in rows]


async def quarters(tx: Transaction, span: Span) -> list[tuple[int, Sums]]:
    """Sums by quarter of an hour, numbered since the Unix epoch."""
    rows = await tx.fetch_all(
        "SELECT time_us / :quarter_us AS quarter, SUM(cost_units) AS units, SUM(cost_nanos) AS nanos,"
        " SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens, COUNT(*) AS calls"
        " FROM usage WHERE time_us >= :start_us AND time_us < :end_us"
        " AND (:user_id = '' OR user_id = :user_id)"
        " GROUP BY time_us / :quarter_us ORDER BY quarter",
        {**span.params, "quarter_us": int(QUARTER.total_seconds() * 1_000_000)},
    )
    return [(row["quarter"], _sums(row)) for row in rows]


def _sums(row: Row | None) -> Sums:
    if row is None or not row["calls"]:
        return Sums()
    return Sums(row["units"] * NANOS + row["nanos"], row["input_tokens"], row["output_tokens"], row["calls"])


async def spent_of_ledger(tx: Transaction, scope: Labels, window: Window) -> int:
    """What the ledger says was spent on a scope in a window."""
    row = await tx.fetch_one(
        "SELECT SUM(cost_units) AS units, SUM(cost_nanos) AS nanos,"
        " SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens, COUNT(*) AS calls"
        " FROM usage WHERE time_us >= :start_us AND time_us < :end_us"
        " AND (:provider_id = '' OR provider_id = :provider_id)"
        " AND (:model = '' OR model = :model) AND (:user_id = '' OR user_id = :user_id)",
        {"start_us": to_us(window.start), "end_us": to_us(window.end), **vars(scope)},
    )
    return _sums(row).cost


async def insert_selection(tx: Transaction, selection: Selection) -> None:
    """Keeps a choice."""
    await tx.execute(
        "INSERT INTO selection (selection_id, time_us, provider_id, model, user_id, focus_area, strategy, cost_nanos, tokens)"
        " VALUES (:selection_id, :time_us, :provider_id, :model, :user_id, :focus_area, :strategy, :cost_nanos, :tokens)",
        {
            "selection_id": selection.selection_id,
            "time_us": to_us(selection.time),
            **vars(selection.labels),
            "focus_area": selection.focus_area,
            "strategy": selection.strategy,
            "cost_nanos": selection.cost,
            "tokens": selection.tokens,
        },
    )


async def get_selection(tx: Transaction, selection_id: str) -> Selection | None:
    """The choice of that id."""
    row = await tx.fetch_one("SELECT * FROM selection WHERE selection_id = :selection_id", {"selection_id": selection_id})
    if row is None:
        return None
    labels = Labels(row["provider_id"], row["model"], row["user_id"])
    return Selection(
        row["selection_id"], from_us(row["time_us"]), labels, row["focus_area"], row["strategy"], row["cost_nanos"], row["tokens"]
    )


async def feedback_in(tx: Transaction, domain: str) -> dict[tuple[str, str], Feedback]:
    """What models earned in a domain, by provider and model."""
    rows = await tx.fetch_all("SELECT provider_id, model, scores, total FROM feedback WHERE domain = :domain", {"domain": domain})
    return {(row["provider_id"], row["model"]): Feedback(row["scores"], row["total"]) for row in rows}


async def feedback_overall(tx: Transaction) -> dict[tuple[str, str], Feedback]:
    """What models earned in all domains together, by provider and model."""
    rows = await tx.fetch_all(
        "SELECT provider_id, model, SUM(scores) AS scores, SUM(total) AS total FROM feedback GROUP BY provider_id, model"
    )
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
    rows = await tx.fetch_all("SELECT provider_id, model, uptime, tokens_per_second, outcomes FROM model_health")
    return {
        (row["provider_id"], row["model"]): ModelHealth(row["uptime"], row["tokens_per_second"], row["outcomes"]) for row in rows
    }


async def provider_healths(tx: Transaction) -> dict[str, tuple[ProviderHealth, datetime | None]]:
    """What was seen of providers, and when their state changed last, by id."""
    return {row["provider_id"]: _provider_health(row) for row in await tx.fetch_all("SELECT * FROM provider_health")}


async def provider_health(tx: Transaction, provider_id: str) -> tuple[ProviderHealth, datetime | None]:
    """The same of one provider."""
    row = await tx.fetch_one("SELECT * FROM provider_health WHERE provider_id = :provider_id", {"provider_id": provider_id})
    return _provider_health(row) if row else (ProviderHealth(), None)


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
