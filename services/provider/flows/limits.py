"""Budgets and burst policies kept in memory between transactions, as long as no process has changed them."""

from msgspec import Struct

from mesh.db import Transaction
from services.provider import budget_store, burst_store
from services.provider.budget import Index
from services.provider.burst import Policy


class Limits(Struct, frozen=True):
    """What stands at one revision."""

    revision: str
    budgets: Index
    policies: tuple[Policy, ...]


class Cache:
    """The last limits that were read. A transaction reads the revision, one row, and all the rest only when it is another.

    A revision is never used twice, also not after an undone transaction, so what was read in one can do no harm later.
    """

    def __init__(self) -> None:
        self._last: Limits | None = None

    async def read(self, tx: Transaction) -> Limits:
        """The limits as this transaction sees them."""
        revision = await budget_store.revision(tx)
        last = self._last
        if last is not None and last.revision == revision:
            return last
        budgets = await budget_store.all_budgets(tx)
        policies = await burst_store.all_policies(tx)
        self._last = Limits(revision, Index(budgets), tuple(policies))
        return self._last
