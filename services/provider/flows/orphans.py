"""Queries whose process is gone: they are given up at once, so that no budget waits for them and a repeat may run."""

from mesh.db import Transaction
from mesh.host import Host
from services.provider import query_store
from services.provider.flows import closing
from services.provider.flows.known import Known

# queries of one transaction: others wait for it
_BATCH = 100


async def give_back(host: Host, known: Known, tx: Transaction, owner: str) -> bool:
    """Gives up what a process ran that is gone, at most so many queries; says whether there may be more.

    Only of a process that nobody can meet again (mesh/owner.py), for no settlement may follow. One that is frozen, or on another
    machine, ends by its reservations' time, and what it settles later is charged all the same (reserving.settle).
    """
    await known.look(tx)
    lost = await query_store.running_of(tx, owner, _BATCH)
    for query, came in lost:
        await closing.lose(host, tx, known, query, came)
    return len(lost) == _BATCH
