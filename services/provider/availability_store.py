"""Every SQL statement about what is available, what was seen of models and keys, and calls on their way."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.json import encode
from msgspec.structs import asdict

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider import store
from services.provider.availability import Condition, Drain, Priority, Resource
from services.provider.breaker import Breaker, Trial
from services.provider.cooldown import Cooldown
from services.provider.failure import FailureKind
from services.provider.fallback import Target
from services.provider.health import ModelHealth, State
from services.provider.health_window import Bucket, Grain, Seen

_MICROSECOND = timedelta(microseconds=1)


async def conditions(tx: Transaction) -> dict[Resource, Condition]:
    """Everything that something speaks against."""

    async def load() -> dict[Resource, Condition]:
        rows = await tx.fetch_all("SELECT * FROM availability ORDER BY provider_id, model, key_id")
        return {Resource(row["provider_id"], row["model"], row["key_id"]): _condition(row) for row in rows}

    return await tx.remembered("availability", store.ALL, load)


async def conditions_of(tx: Transaction, provider_id: str) -> dict[Resource, Condition]:
    """The same of one provider, its models and keys."""
    return {resource: found for resource, found in (await conditions(tx)).items() if resource.provider_id == provider_id}


async def put_condition(tx: Transaction, resource: Resource, condition: Condition) -> None:
    """Sets what speaks against a resource."""
    breaker, cooldown, drain = condition.breaker, condition.cooldown, condition.drain
    await tx.execute(
        "INSERT INTO availability (provider_id, model, key_id, opened_us, open_until_us, opens, closed_us, trials, why, cool_kind,"
        " cool_detail, cool_since_us, cool_until_us, cool_times, drained_us, drain_until_us, drain_reason, told_state,"
        " told_priority) VALUES (:provider_id, :model, :key_id, :opened_us, :open_until_us, :opens, :closed_us, :trials, :why,"
        " :cool_kind, :cool_detail, :cool_since_us, :cool_until_us, :cool_times, :drained_us, :drain_until_us, :drain_reason,"
        " :told_state, :told_priority) ON CONFLICT (provider_id, model, key_id) DO UPDATE SET opened_us = excluded.opened_us,"
        " open_until_us = excluded.open_until_us, opens = excluded.opens, closed_us = excluded.closed_us, trials = excluded.trials,"
        " why = excluded.why, cool_kind = excluded.cool_kind, cool_detail = excluded.cool_detail,"
        " cool_since_us = excluded.cool_since_us, cool_until_us = excluded.cool_until_us, cool_times = excluded.cool_times,"
        " drained_us = excluded.drained_us, drain_until_us = excluded.drain_until_us, drain_reason = excluded.drain_reason,"
        " told_state = excluded.told_state, told_priority = excluded.told_priority",
        {
            **resource._asdict(),
            "opened_us": _us(breaker.opened),
            "open_until_us": to_us(breaker.until),
            "opens": breaker.opens,
            "closed_us": to_us(breaker.closed_at),
            "trials": json.dumps([[trial.call_id, to_us(trial.until)] for trial in breaker.trials]),
            "why": condition.why,
            "cool_kind": cooldown.cause if cooldown else 0,
            "cool_detail": cooldown.detail if cooldown else "",
            "cool_since_us": to_us(cooldown.since) if cooldown else 0,
            "cool_until_us": to_us(cooldown.until) if cooldown else 0,
            "cool_times": cooldown.times if cooldown else 0,
            "drained_us": _us(drain.since) if drain else None,
            "drain_until_us": _us(drain.until) if drain else None,
            "drain_reason": drain.reason if drain else "",
            "told_state": condition.state,
            "told_priority": condition.priority,
        },
    )


async def forget_condition(tx: Transaction, resource: Resource) -> None:
    """Nothing speaks against it any more."""
    await tx.execute(
        "DELETE FROM availability WHERE provider_id = :provider_id AND model = :model AND key_id = :key_id", resource._asdict()
    )


async def forget(tx: Transaction, resource: Resource) -> None:
    """Drops all that was noted of a provider, a model or a key that is gone: another one of its name begins anew."""
    place = resource._asdict()
    await tx.execute(
        "DELETE FROM availability WHERE provider_id = :provider_id AND (:model = '' OR model = :model)"
        " AND (:key_id = '' OR key_id = :key_id)",
        place,
    )
    await tx.execute(
        "DELETE FROM health_bucket WHERE provider_id = :provider_id AND (:model = '' OR model = :model)"
        " AND (:key_id = '' OR key_id = :key_id)",
        place,
    )
    if not resource.key_id:
        await tx.execute("DELETE FROM model_health WHERE provider_id = :provider_id AND (:model = '' OR model = :model)", place)
    if not resource.model:
        await tx.execute("DELETE FROM key_health WHERE provider_id = :provider_id AND (:key_id = '' OR key_id = :key_id)", place)
    if resource == Resource(resource.provider_id):
        await tx.execute("DELETE FROM provider_health WHERE provider_id = :provider_id", place)


async def model_seen(tx: Transaction, target: Target, grain: Grain) -> tuple[ModelHealth, Seen]:
    """What was seen of a model."""

    async def load() -> tuple[ModelHealth, Seen]:
        row = (await store.model_rows(tx)).get(target)
        return (ModelHealth(), Seen()) if row is None else (store.model_health(row), _seen(row, grain))

    return await tx.remembered("model_health", (target, grain), load)


async def put_model_seen(tx: Transaction, target: Target, grain: Grain, health: ModelHealth, seen: Seen, now: datetime) -> None:
    """Sets what was seen of a model."""
    row = {**target._asdict(), **asdict(health), **_params(seen, grain, now)}
    rows, healths = await store.model_rows(tx), await store.model_healths(tx)
    await tx.execute(
        "INSERT INTO model_health (provider_id, model, uptime, tokens_per_second, outcomes, failures_in_row, latency_us,"
        " first_token_us, last_us, seen) VALUES (:provider_id, :model, :uptime, :tokens_per_second, :outcomes, :failures_in_row,"
        " :latency_us, :first_token_us, :last_us, :seen) ON CONFLICT (provider_id, model) DO UPDATE SET uptime = excluded.uptime,"
        " tokens_per_second = excluded.tokens_per_second, outcomes = excluded.outcomes, failures_in_row = excluded.failures_in_row,"
        " latency_us = excluded.latency_us, first_token_us = excluded.first_token_us, last_us = excluded.last_us,"
        " seen = excluded.seen",
        row,
        now={
            store.ALL: {**rows, target: row},
            store.HEALTHS: {**healths, target: health},
            (target, grain): (health, seen),
        },
    )


async def key_seen(tx: Transaction, provider_id: str, key_id: str, grain: Grain) -> Seen:
    """What was seen of a key."""

    async def load() -> Seen:
        row = await tx.fetch_one(
            "SELECT * FROM key_health WHERE provider_id = :provider_id AND key_id = :key_id",
            {"provider_id": provider_id, "key_id": key_id},
        )
        return Seen() if row is None else _seen(row, grain)

    return await tx.remembered("key_health", (provider_id, key_id, grain), load)


async def put_key_seen(tx: Transaction, provider_id: str, key_id: str, grain: Grain, seen: Seen, now: datetime) -> None:
    """Sets what was seen of a key."""
    row = {"provider_id": provider_id, "key_id": key_id, **_params(seen, grain, now)}
    await tx.execute(
        "INSERT INTO key_health (provider_id, key_id, failures_in_row, latency_us, first_token_us, last_us, seen)"
        " VALUES (:provider_id, :key_id, :failures_in_row, :latency_us, :first_token_us, :last_us, :seen)"
        " ON CONFLICT (provider_id, key_id) DO UPDATE SET failures_in_row = excluded.failures_in_row,"
        " latency_us = excluded.latency_us, first_token_us = excluded.first_token_us, last_us = excluded.last_us,"
        " seen = excluded.seen",
        row,
        now={(provider_id, key_id, grain): seen},
    )


async def forget_failures(tx: Transaction, provider_id: str, model: str) -> None:
    """No failure in a row counts any more for a model, or for each of a provider's ("")."""
    await tx.execute(
        "UPDATE model_health SET failures_in_row = 0 WHERE provider_id = :provider_id AND (:model = '' OR model = :model)",
        {"provider_id": provider_id, "model": model},
    )


async def models_called(tx: Transaction, provider_id: str, since: datetime) -> set[str]:
    """Models of a provider of which an outcome was noted since then."""
    rows = await tx.fetch_all(
        "SELECT model FROM model_health WHERE provider_id = :provider_id AND last_us >= :since_us",
        {"provider_id": provider_id, "since_us": to_us(since)},
    )
    return {row["model"] for row in rows}


async def seen_of_models(tx: Transaction, grain: Grain) -> dict[Resource, Seen]:
    """What was seen of every model."""
    return {Resource(*model): _seen(row, grain) for model, row in (await store.model_rows(tx)).items() if row["seen"]}


async def seen_of_keys(tx: Transaction, grain: Grain) -> dict[Resource, Seen]:
    """What was seen of every key."""
    rows = await tx.fetch_all("SELECT * FROM key_health")
    return {Resource(row["provider_id"], "", row["key_id"]): _seen(row, grain) for row in rows}


async def keys_used(tx: Transaction) -> dict[tuple[str, str], datetime]:
    """The minute in which each key was last used, by provider and key; without one it never was."""
    rows = await tx.fetch_all("SELECT provider_id, key_id, last_us FROM key_health")
    return {(row["provider_id"], row["key_id"]): from_us(row["last_us"]).replace(second=0, microsecond=0) for row in rows}


async def put_away(tx: Transaction, resource: Resource, grain: Grain, bucket: Bucket, oldest: int) -> None:
    """Keeps a bucket that is full, and drops those that have left the window."""
    await tx.execute(
        "INSERT INTO health_bucket (provider_id, model, key_id, width_us, number, tested, own, seen)"
        " VALUES (:provider_id, :model, :key_id, :width_us, :number, :tested, :own, :seen)"
        " ON CONFLICT (provider_id, model, key_id, width_us, number) DO NOTHING",
        {
            **resource._asdict(),
            "width_us": grain.width // _MICROSECOND,
            "number": bucket.number,
            "tested": bucket.tested,
            "own": bucket.own,
            "seen": _packed(bucket, grain),
        },
    )
    await tx.execute(
        "DELETE FROM health_bucket WHERE provider_id = :provider_id AND model = :model AND key_id = :key_id"
        " AND (number < :oldest OR width_us <> :width_us)",
        {**resource._asdict(), "oldest": oldest, "width_us": grain.width // _MICROSECOND},
    )


async def tested_before(tx: Transaction, resource: Resource, grain: Grain, oldest: int) -> tuple[int, int]:
    """The model's own failures, and calls that could have been such, in the buckets put away from a number on."""
    row = await tx.fetch_one(
        "SELECT SUM(own) AS own, SUM(tested) AS tested FROM health_bucket WHERE provider_id = :provider_id AND model = :model"
        " AND key_id = :key_id AND width_us = :width_us AND number >= :oldest",
        {**resource._asdict(), "width_us": grain.width // _MICROSECOND, "oldest": oldest},
    )
    return (0, 0) if row is None or row["own"] is None else (int(row["own"]), int(row["tested"]))


async def buckets(tx: Transaction, grain: Grain, oldest: int) -> dict[Resource, list[Bucket]]:
    """Every bucket put away from a number on."""
    rows = await tx.fetch_all(
        "SELECT provider_id, model, key_id, seen FROM health_bucket WHERE width_us = :width_us AND number >= :oldest",
        {"width_us": grain.width // _MICROSECOND, "oldest": oldest},
    )
    found: dict[Resource, list[Bucket]] = {}
    for row in rows:
        found.setdefault(Resource(row["provider_id"], row["model"], row["key_id"]), []).append(_unpacked(row["seen"], grain))
    return found


def _condition(row: Row) -> Condition:
    trials = tuple(Trial(call_id, from_us(until)) for call_id, until in json.loads(row["trials"]))
    breaker = Breaker(_moment(row["opened_us"]), from_us(row["open_until_us"]), row["opens"], from_us(row["closed_us"]), trials)
    cooldown, drain = None, None
    if row["cool_kind"]:
        since, until = from_us(row["cool_since_us"]), from_us(row["cool_until_us"])
        cooldown = Cooldown(FailureKind(row["cool_kind"]), row["cool_detail"], since, until, row["cool_times"])
    if row["drained_us"] is not None:
        drain = Drain(row["drain_reason"], from_us(row["drained_us"]), _moment(row["drain_until_us"]))
    return Condition(breaker, row["why"], cooldown, drain, State(row["told_state"]), Priority(row["told_priority"]))


def _params(seen: Seen, grain: Grain, now: datetime) -> dict[str, object]:
    return {
        "failures_in_row": seen.failures_in_row,
        "latency_us": None if seen.latency is None else seen.latency // _MICROSECOND,
        "first_token_us": None if seen.first_token is None else seen.first_token // _MICROSECOND,
        "last_us": to_us(now),
        "seen": _packed(seen.bucket, grain),
    }


def _seen(row: Row | Mapping[str, Any], grain: Grain) -> Seen:
    bucket = _unpacked(row["seen"], grain)
    return Seen(row["failures_in_row"], _length(row["latency_us"]), _length(row["first_token_us"]), bucket)


def _packed(bucket: Bucket, grain: Grain) -> str:
    parts = (grain.width // _MICROSECOND, bucket.number, bucket.calls, bucket.failures, bucket.latencies, bucket.first_tokens)
    return encode(parts).decode()


def _unpacked(text: str, grain: Grain) -> Bucket:
    """Buckets are numbered by their width, so one of another width means nothing."""
    if text:
        width, number, calls, *counts = json.loads(text)
        if width == grain.width // _MICROSECOND:
            return Bucket(number, calls, *map(_counts, counts))
    return Bucket(0)


def _counts(table: Mapping[str, int]) -> dict[int, int]:
    return {int(key): count for key, count in table.items()}


def _length(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_us(microseconds)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)
