"""What the statements about leases have in common."""

from mesh.clock import to_us
from mesh.db import Transaction
from services.integration.lease import Lease

# nobody has it: its lease has ended, or is one that only a clock that has been set back since can have given
FREE = "(lease_us <= :now_us OR lease_us > :latest_us)"
# it is still this very lease: nobody has taken it over since
HELD = "lease_us = :until_us AND lease_owner = :owner"


def values(lease: Lease) -> dict[str, object]:
    """A lease as these statements name its parts."""
    return {
        "owner": lease.owner,
        "now_us": to_us(lease.begin),
        "until_us": to_us(lease.until),
        "latest_us": to_us(lease.latest),
    }


async def give_back(tx: Transaction, owner: str) -> None:
    """Ends every lease of a process that is gone."""
    await tx.execute("DELETE FROM calls_under_way WHERE lease_owner = :owner", {"owner": owner})
    await tx.execute("UPDATE slack_messages SET lease_us = 0 WHERE lease_owner = :owner AND lease_us <> 0", {"owner": owner})
    await tx.execute("UPDATE connections SET lease_us = 0 WHERE lease_owner = :owner AND lease_us <> 0", {"owner": owner})
