"""Every SQL statement about queries, each a named function inside the caller's transaction."""

import json
from datetime import datetime, timedelta

from msgspec.json import encode

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.chat import Usage
from services.provider.failure import FailureKind
from services.provider.fallback import Target
from services.provider.labels import from_text
from services.provider.query import Came, Query, State, Tried
from services.provider.reservation import State as Standing

_MICROSECOND = timedelta(microseconds=1)


async def insert(tx: Transaction, query: Query) -> None:
    """Adds a query that begins."""
    await tx.execute(
        "INSERT INTO query (query_id, created_us, state, provider_id, model, reservation_id, labels, focus_area, ended_us, usage,"
        " usage_estimated, cost_nanos, tried, request_id, request_hash, answer, until_us, owner) VALUES (:query_id, :created_us,"
        " :state, :provider_id, :model, :reservation_id, :labels, :focus_area, :ended_us, :usage, :usage_estimated, :cost_nanos,"
        " :tried, :request_id, :request_hash, :answer, :until_us, :owner)",
        _changing(query)
        | {
            "created_us": to_us(query.created),
            "labels": query.labels.text,
            "focus_area": query.focus_area,
            "request_id": query.request_id or None,
            "request_hash": query.request_hash or None,
            "owner": query.owner,
        },
    )


async def put(tx: Transaction, query: Query) -> None:
    """Writes how a query stands."""
    await tx.execute(
        "UPDATE query SET state = :state, provider_id = :provider_id, model = :model,"
        " reservation_id = :reservation_id, ended_us = :ended_us, usage = :usage, usage_estimated = :usage_estimated,"
        " cost_nanos = :cost_nanos, tried = :tried, answer = :answer, until_us = :until_us"
        " WHERE query_id = :query_id",
        _changing(query),
    )


async def put_came(tx: Transaction, query_id: str, came: Came) -> None:
    """Writes what has come so far of the answer of one that runs."""
    await tx.execute(
        "UPDATE query SET came = :came WHERE query_id = :query_id",
        {"query_id": query_id, "came": encode([*_counts(came.usage), came.cost]).decode()},
    )


async def get(tx: Transaction, query_id: str) -> Query | None:
    """The query of that id."""
    row = await tx.fetch_one("SELECT * FROM query WHERE query_id = :query_id", {"query_id": query_id})
    return _query(row) if row else None


async def by_request(tx: Transaction, request_id: str) -> Query | None:
    """The query that a request id led to."""
    row = await tx.fetch_one("SELECT * FROM query WHERE request_id = :request_id", {"request_id": request_id})
    return _query(row) if row else None


async def free_request(tx: Transaction, query_id: str) -> None:
    """Lets the request id of a query that failed be used for another try."""
    await tx.execute("UPDATE query SET request_id = NULL WHERE query_id = :query_id", {"query_id": query_id})


async def in_flight(tx: Transaction, now: datetime) -> dict[Target, int]:
    """How many run, by model; of those whose time is over nobody may be left."""
    rows = await tx.fetch_all(
        "SELECT provider_id, model, COUNT(*) AS queries FROM query WHERE state = 1 AND until_us > :now_us"
        " GROUP BY provider_id, model",
        {"now_us": to_us(now)},
    )
    return {Target(row["provider_id"], row["model"]): row["queries"] for row in rows}


async def running_of(tx: Transaction, owner: str, limit: int) -> list[tuple[Query, Came | None]]:
    """Queries that a process runs, each with what is known to have come."""
    rows = await tx.fetch_all(
        "SELECT * FROM query WHERE state = 1 AND owner = :owner LIMIT :limit", {"owner": owner, "limit": limit}
    )
    return [(_query(row), _came(row["came"])) for row in rows]


async def abandoned(tx: Transaction, before: datetime, limit: int) -> list[Query]:
    """Queries that run on by their state though nobody can run them: their reservation is gone, and they began before then.

    Each reservation outlives the deadline of its query, so one that expired had nobody who settled it.
    """
    rows = await tx.fetch_all(
        "SELECT query.* FROM query LEFT JOIN reservation ON reservation.reservation_id = query.reservation_id"
        " WHERE query.state = 1 AND (reservation.state = :expired OR (query.created_us < :before_us"
        " AND (reservation.state IS NULL OR reservation.state <> :open))) LIMIT :limit",
        {
            "expired": int(Standing.EXPIRED),
            "open": int(Standing.OPEN),
            "before_us": to_us(before),
            "limit": limit,
        },
    )
    return [_query(row) for row in rows]


async def forget(tx: Transaction, before: datetime, limit: int) -> int:
    """Drops at most so many queries that began before then; gives their number."""
    return await tx.execute(
        "DELETE FROM query WHERE query_id IN (SELECT query_id FROM query WHERE created_us < :before_us"
        " AND state <> :running LIMIT :limit)",
        {"before_us": to_us(before), "running": int(State.RUNNING), "limit": limit},
    )


def _changing(query: Query) -> dict[str, object]:
    """What changes while it runs, with its id."""
    return {
        "query_id": query.query_id,
        "state": int(query.state),
        "provider_id": query.provider_id,
        "model": query.model,
        "reservation_id": query.reservation_id,
        "ended_us": None if query.ended is None else to_us(query.ended),
        # of integers a list's text is JSON
        "usage": str(_counts(query.usage)),
        "usage_estimated": int(query.usage_estimated),
        "cost_nanos": query.cost,
        "tried": encode([_plain(tried) for tried in query.tried]).decode() if query.tried else "[]",
        "answer": query.answer or None,
        "until_us": to_us(query.until),
    }


def _counts(usage: Usage) -> list[int]:
    """In the order of the fields."""
    return [
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    ]


def _came(text: str) -> Came | None:
    if not text:
        return None
    *counts, cost = json.loads(text)
    return Came(Usage(*counts), cost)


def _plain(tried: Tried) -> list[object]:
    kind = 0 if tried.kind is None else int(tried.kind)
    return [tried.provider_id, tried.model, tried.key_id, kind, tried.detail, tried.latency // _MICROSECOND]


def _tried(row: list[object]) -> Tried:
    provider_id, model, key_id, kind, detail, latency = row
    failed = FailureKind(int(str(kind))) if kind else None
    return Tried(str(provider_id), str(model), str(key_id), failed, str(detail), int(str(latency)) * _MICROSECOND)


def _query(row: Row) -> Query:
    return Query(
        row["query_id"],
        from_us(row["created_us"]),
        from_text(row["labels"]),
        row["provider_id"],
        row["model"],
        row["reservation_id"],
        row["focus_area"],
        State(row["state"]),
        None if row["ended_us"] is None else from_us(row["ended_us"]),
        Usage(*json.loads(row["usage"])),
        bool(row["usage_estimated"]),
        row["cost_nanos"],
        tuple(map(_tried, json.loads(row["tried"]))),
        row["request_id"] or "",
        row["request_hash"] or b"",
        row["answer"] or b"",
        from_us(row["until_us"]),
        row["owner"],
    )
