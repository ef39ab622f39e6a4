"""A provider's store without its server: for tests that drive the flows of budgets in one process or in several."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from mesh.client import MeshClient
from mesh.clock import Clock
from mesh.db import Database, Transaction
from mesh.host import Host
from mesh.ids import Ids, new_id
from mesh.settings import MeshSettings
from services.provider.flows.known import Known
from services.provider.pricelist import PriceList
from services.provider.settings import ProviderSettings
from tests.support.mesh import ROOT

T = TypeVar("T")
SCHEMA = ROOT / "services" / "provider" / "schema"
# a token of output costs 10 nano units, one of input 1
DEAR, FREE = {"input": "0.001", "output": "0.01"}, {"input": "0", "output": "0"}


# one provider with a dear and a free model
TABLE: dict[str, Any] = {
    "tiers": {"any": {}},
    "providers": {
        "acme": {
            "models": {
                "big": {"tier": "any", "quality": 0.9, "tokens_per_second": 50, "context_window": 100_000, "price": DEAR},
                "gift": {"tier": "any", "quality": 0.4, "tokens_per_second": 50, "context_window": 100_000, "price": FREE},
            }
        }
    },
}


class Replica:
    """One process's way to the store: its own connections, its own memory of the budgets."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, settings: ProviderSettings) -> None:
        # nothing here calls another service
        self.host = Host("provider", MeshSettings(), database, cast(MeshClient, None), clock, ids)
        self.known = Known(settings, TABLE, PriceList({}, {}), {})

    @classmethod
    async def open(cls, path: Path, clock: Clock, ids: Ids = new_id, settings: ProviderSettings | None = None) -> "Replica":
        """Opens or makes the file."""
        database = await Database.open(path, [("provider", SCHEMA)], MeshSettings(), clock)
        return cls(database, clock, ids, settings or ProviderSettings())

    async def close(self) -> None:
        """Closes the file."""
        await self.host.db.close()

    async def write(self, flow: Callable[[Host, Transaction, Known], Awaitable[T]]) -> T:
        """Runs a flow in a write transaction."""
        return await self.host.db.write(lambda tx: flow(self.host, tx, self.known))

    async def read(self, flow: Callable[[Transaction], Awaitable[T]]) -> T:
        """Runs a look on a snapshot."""
        return await self.host.db.read(flow)


async def together(*calls: Awaitable[T]) -> list[T]:
    """All of them at the same time."""
    return list(await asyncio.gather(*calls))
