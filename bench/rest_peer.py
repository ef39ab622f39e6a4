"""The peer of bench.rest: the same two calls as FastAPI on uvicorn, as one would write them, with the same durability.

Run by bench.rest as `uvicorn bench.rest_peer:app`; DATABASE names its SQLite file.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import aiosqlite
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

_SCHEMA = """
CREATE TABLE IF NOT EXISTS budgets (budget_id TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metrics (
    event_id TEXT PRIMARY KEY, name TEXT NOT NULL, value REAL NOT NULL, labels TEXT, time_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, event TEXT NOT NULL);
"""


class LogMetric(BaseModel):
    """Body of the write call, with rules like the contract's."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    value: float
    labels: dict[str, str] = {}


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    async with aiosqlite.connect(os.environ["DATABASE"], isolation_level=None) as database:
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute("PRAGMA synchronous = FULL")
        await database.executescript(_SCHEMA)
        budget = {
            "budgetId": "bench",
            "limit": {"currencyCode": "USD", "units": "20"},
            "spent": {"currencyCode": "USD", "units": "0"},
        }
        await database.execute("INSERT OR REPLACE INTO budgets VALUES ('bench', ?)", (json.dumps(budget),))
        application.state.database = database
        # one connection has one transaction at a time
        application.state.lock = asyncio.Lock()
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/api/v1/budgets/{budget_id}")
async def get_budget(budget_id: str) -> dict[str, object]:
    """The read call."""
    rows = list(await app.state.database.execute_fetchall("SELECT content FROM budgets WHERE budget_id = ?", (budget_id,)))
    if not rows:
        raise HTTPException(404)
    found: dict[str, object] = json.loads(rows[0][0])
    return {"standing": found}


@app.post("/api/v1/analytics/log")
async def log_metric(request: LogMetric) -> dict[str, object]:
    """The write call: the value and its event in one transaction, answered after the commit."""
    event_id, now_us = str(uuid.uuid4()), time.time_ns() // 1000
    database = app.state.database
    async with app.state.lock:
        await database.execute("BEGIN IMMEDIATE")
        await database.execute(
            "INSERT INTO metrics VALUES (?, ?, ?, ?, ?)",
            (event_id, request.name, request.value, json.dumps(request.labels), now_us),
        )
        await database.execute("INSERT INTO outbox (event) VALUES (?)", (json.dumps({"id": event_id, **request.model_dump()}),))
        await database.execute("COMMIT")
    return {"name": request.name, "eventId": event_id}
