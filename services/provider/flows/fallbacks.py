"""Fallback chains on their store: the plan of a request."""

from collections.abc import Callable, Iterable

from mesh import errors
from mesh.db import Transaction
from services.provider import fallback_store
from services.provider.availability import Availability
from services.provider.fallback import Candidate, Link, Plan

DEFAULT_ID = "default"
# what a link of a chain stands for: candidates with all their keys; none when the registry does not know it
Resolve = Callable[[Link], Iterable[Candidate]]


async def plan(tx: Transaction, seen: Availability, ranked: Iterable[Candidate], chain_id: str, resolve: Resolve) -> Plan:
    """What a request may try: these candidates, and of its chain what takes calls now; NOT_FOUND for a chain that is not there.

    A request that names no chain has the one named "default", when there is one.
    """
    stored = await fallback_store.get_chain(tx, chain_id or DEFAULT_ID)
    if stored is None:
        if chain_id:
            raise errors.not_found("fallback chain", chain_id)
        return Plan(tuple(ranked))
    chains = {
        cause: seen.untroubled(candidate for link in links for candidate in resolve(link))
        for cause, links in stored.chain.links.items()
    }
    return Plan(tuple(ranked), chains)
