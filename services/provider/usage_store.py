"""Every SQL statement about the ledger of usage, each a named function inside the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.labels import EVERYTHING, MOST_FURTHER, Labels
from services.provider.money import NANOS
from services.provider.report import QUARTER, Group, Sums
from services.provider.windows import EPOCH, FOREVER

# slots of any length share one statement: with this one everything since 1970 is one slot
_ONE_SLOT_US = 2**62
_SUMS = (
    "SUM(cost_units) AS units, SUM(cost_nanos) AS nanos, SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens,"
    " COUNT(*) AS calls, COUNT(best_units) AS compared,"
    " SUM(CASE WHEN best_units IS NOT NULL THEN best_units - cost_units END) AS saved_units,"
    " SUM(CASE WHEN best_units IS NOT NULL THEN best_nanos - cost_nanos END) AS saved_nanos"
)
_PLACES = " OR ".join(f"(name = :name{place} AND value = :value{place})" for place in range(MOST_FURTHER))
# usage in the span that has all the labels: relational division over the table of further labels
_INSIDE = (
    "time_us >= :start_us AND time_us < :end_us AND (:provider_id = '' OR provider_id = :provider_id)"  # noqa: S608 # constants only
    " AND (:model = '' OR model = :model) AND (:user_id = '' OR user_id = :user_id)"
    " AND (:wanted = 0 OR usage.usage_id IN"
    f" (SELECT usage_id FROM usage_label WHERE {_PLACES} GROUP BY usage_id HAVING COUNT(*) = :wanted))"
)
_VALUE_OF_LABEL = (
    "CASE :label WHEN '' THEN '' WHEN 'provider' THEN provider_id WHEN 'model' THEN model WHEN 'user' THEN user_id"
    " ELSE COALESCE(own.value, '') END"
)
_WITH_LABEL = "usage LEFT JOIN usage_label AS own ON own.usage_id = usage.usage_id AND own.name = :label"


class Usage(Struct, frozen=True):
    """One call that was told; costs in nano units, latency in microseconds; `best_cost` is what the best model would have cost."""

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
    best_cost: int | None = None


class Span(Struct, frozen=True):
    """What a report covers: from `start` (in) to `end` (out), usage that has all these labels."""

    start: datetime
    end: datetime
    labels: Labels = EVERYTHING

    @property
    def params(self) -> Mapping[str, object]:
        """As statement parameters."""
        further = list(self.labels.further.items())
        padded = further + [("", "")] * (MOST_FURTHER - len(further))
        places = {f"name{place}": name for place, (name, _) in enumerate(padded)}
        places |= {f"value{place}": value for place, (_, value) in enumerate(padded)}
        return {
            "start_us": to_us(self.start),
            "end_us": to_us(self.end),
            "provider_id": self.labels.provider_id,
            "model": self.labels.model,
            "user_id": self.labels.user_id,
            "wanted": len(further),
            **places,
        }


async def insert_usage(tx: Transaction, usage: Usage) -> None:
    """Adds a call to the ledger; units and nanos apart, so that no sum of them can leave 64 bits."""
    units, nanos = divmod(usage.cost, NANOS)
    best_units, best_nanos = (None, None) if usage.best_cost is None else divmod(usage.best_cost, NANOS)
    await tx.execute(
        "INSERT INTO usage (usage_id, time_us, provider_id, model, user_id, selection_id, input_tokens, output_tokens,"
        " cached_input_tokens, cost_units, cost_nanos, cost_given, outcome, latency_us, best_units, best_nanos) VALUES (:usage_id,"
        " :time_us, :provider_id, :model, :user_id, :selection_id, :input_tokens, :output_tokens, :cached_input_tokens,"
        " :cost_units, :cost_nanos, :cost_given, :outcome, :latency_us, :best_units, :best_nanos)",
        {
            "usage_id": usage.usage_id,
            "time_us": to_us(usage.time),
            "provider_id": usage.labels.provider_id,
            "model": usage.labels.model,
            "user_id": usage.labels.user_id,
            "selection_id": usage.selection_id,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "cost_units": units,
            "cost_nanos": nanos,
            "cost_given": int(usage.cost_given),
            "outcome": usage.outcome,
            "latency_us": usage.latency_us,
            "best_units": best_units,
            "best_nanos": best_nanos,
        },
    )
    if further := usage.labels.further:
        await tx.execute_many(
            "INSERT INTO usage_label (usage_id, name, value) VALUES (:usage_id, :name, :value)",
            [{"usage_id": usage.usage_id, "name": name, "value": value} for name, value in further.items()],
        )


async def total(tx: Transaction, span: Span) -> Sums:
    """Everything in the span."""
    return _sums(await tx.fetch_one(f"SELECT {_SUMS} FROM usage WHERE {_INSIDE}", span.params))  # noqa: S608 # constants only


async def first(tx: Transaction, labels: Labels) -> datetime | None:
    """When the first call with these labels was; None when there was none."""
    span = Span(EPOCH, FOREVER, labels)
    row = await tx.fetch_one(f"SELECT MIN(time_us) AS first_us FROM usage WHERE {_INSIDE}", span.params)  # noqa: S608 # constants only
    return from_us(row["first_us"]) if row and row["first_us"] is not None else None


async def groups_by_provider(tx: Transaction, span: Span, after: str | None, limit: int) -> list[Group]:
    """At most `limit` rows by provider, those after the key `after`; usage of which nobody said the provider has the key ""."""
    rows = await tx.fetch_all(
        f"SELECT provider_id, {_SUMS} FROM usage WHERE {_INSIDE}"  # noqa: S608 # constants only
        " AND (:first = 1 OR provider_id > :after) GROUP BY provider_id ORDER BY provider_id LIMIT :limit",
        {**span.params, "first": int(after is None), "after": after or "", "limit": limit},
    )
    return [Group(row["provider_id"], _sums(row), row["provider_id"]) for row in rows]


async def groups_by_model(tx: Transaction, span: Span, after: tuple[str, str] | None, limit: int) -> list[Group]:
    """At most `limit` rows by provider and model, those after the pair `after`; either may be ""."""
    provider_id, model = after or ("", "")
    rows = await tx.fetch_all(
        f"SELECT provider_id, model, {_SUMS} FROM usage WHERE {_INSIDE}"  # noqa: S608 # constants only
        " AND (:first = 1 OR provider_id > :after_provider OR (provider_id = :after_provider AND model > :after_model))"
        " GROUP BY provider_id, model ORDER BY provider_id, model LIMIT :limit",
        {**span.params, "first": int(after is None), "after_provider": provider_id, "after_model": model, "limit": limit},
    )
    return [Group(_key(row), _sums(row), row["provider_id"], row["model"]) for row in rows]


def _key(row: Row) -> str:
    provider_id, model = row["provider_id"], row["model"]
    return f"{provider_id}/{model}" if provider_id or model else ""


async def groups_by_label(tx: Transaction, span: Span, label: str, after: str | None, limit: int) -> list[Group]:
    """At most `limit` rows by the values of a label, those after the value `after`; usage without it has the value ""."""
    rows = await tx.fetch_all(
        f"SELECT {_VALUE_OF_LABEL} AS label_value, {_SUMS} FROM {_WITH_LABEL} WHERE {_INSIDE}"  # noqa: S608 # constants only
        f" AND (:first = 1 OR {_VALUE_OF_LABEL} > :after) GROUP BY 1 ORDER BY 1 LIMIT :limit",
        {**span.params, "label": label, "first": int(after is None), "after": after or "", "limit": limit},
    )
    return [Group(row["label_value"], _sums(row)) for row in rows]


async def quarters(tx: Transaction, span: Span) -> list[tuple[int, Sums]]:
    """Sums by quarter of an hour, numbered since the Unix epoch."""
    rows = await tx.fetch_all(
        f"SELECT time_us / :quarter_us AS quarter, {_SUMS} FROM usage WHERE {_INSIDE}"  # noqa: S608 # constants only
        " GROUP BY time_us / :quarter_us ORDER BY quarter",
        {**span.params, "quarter_us": int(QUARTER.total_seconds() * 1_000_000)},
    )
    return [(row["quarter"], _sums(row)) for row in rows]


def _sums(row: Row | None) -> Sums:
    if row is None or not row["calls"]:
        return Sums()
    saved = (row["saved_units"] or 0) * NANOS + (row["saved_nanos"] or 0)
    return Sums(
        row["units"] * NANOS + row["nanos"], row["input_tokens"], row["output_tokens"], row["calls"], saved, row["compared"]
    )


async def spent_of_ledger(tx: Transaction, span: Span, each: str, slot_us: int | None) -> dict[tuple[str, datetime], int]:
    """What the ledger says was spent in a span, by the value of the label `each` and by slot; without slots by its beginning."""
    rows = await tx.fetch_all(
        f"SELECT {_VALUE_OF_LABEL} AS holder, time_us / :slot_us AS slot, SUM(cost_units) AS units, SUM(cost_nanos) AS nanos"  # noqa: S608 # constants only
        f" FROM {_WITH_LABEL} WHERE {_INSIDE} GROUP BY 1, 2",
        {**span.params, "label": each, "slot_us": slot_us or _ONE_SLOT_US},
    )
    return {
        (row["holder"], from_us(row["slot"] * slot_us) if slot_us else span.start): row["units"] * NANOS + row["nanos"]
        for row in rows
    }
