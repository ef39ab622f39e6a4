"""Every SQL statement about burst policies and their buckets, each a named function inside the caller's transaction."""

import json
from datetime import timedelta

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.burst import Measure, Mode, Policy
from services.provider.labels import from_text

_MICROSECOND = timedelta(microseconds=1)


async def put_policy(tx: Transaction, policy: Policy) -> None:
    """Makes a policy or replaces the one of that id."""
    await tx.execute(
        "INSERT INTO burst_policy (policy_id, display_name, labels, by_labels, measure, rate, period_us, burst, mode, max_wait_us,"
        " created_us, updated_us) VALUES (:policy_id, :display_name, :labels, :by_labels, :measure, :rate, :period_us, :burst,"
        " :mode, :max_wait_us, :created_us, :updated_us) ON CONFLICT (policy_id) DO UPDATE SET"
        " display_name = excluded.display_name, labels = excluded.labels, by_labels = excluded.by_labels,"
        " measure = excluded.measure, rate = excluded.rate, period_us = excluded.period_us, burst = excluded.burst,"
        " mode = excluded.mode, max_wait_us = excluded.max_wait_us, created_us = excluded.created_us,"
        " updated_us = excluded.updated_us",
        {
            "policy_id": policy.policy_id,
            "display_name": policy.display_name,
            "labels": policy.scope.text,
            "by_labels": json.dumps(policy.by),
            "measure": int(policy.measure),
            "rate": policy.rate,
            "period_us": policy.period // _MICROSECOND,
            "burst": policy.burst,
            "mode": int(policy.mode),
            "max_wait_us": policy.max_wait // _MICROSECOND,
            "created_us": to_us(policy.created),
            "updated_us": to_us(policy.updated),
        },
    )


async def get_policy(tx: Transaction, policy_id: str) -> Policy | None:
    """The policy of that id."""
    row = await tx.fetch_one("SELECT * FROM burst_policy WHERE policy_id = :policy_id", {"policy_id": policy_id})
    return _policy(row) if row else None


async def all_policies(tx: Transaction) -> list[Policy]:
    """Every policy, by id."""
    return [_policy(row) for row in await tx.fetch_all("SELECT * FROM burst_policy ORDER BY policy_id")]


async def list_policies(tx: Transaction, after: str, limit: int) -> list[Policy]:
    """At most `limit` policies after that id."""
    rows = await tx.fetch_all(
        "SELECT * FROM burst_policy WHERE policy_id > :after ORDER BY policy_id LIMIT :limit", {"after": after, "limit": limit}
    )
    return [_policy(row) for row in rows]


async def count_policies(tx: Transaction) -> int:
    """How many policies there are."""
    row = await tx.fetch_one("SELECT COUNT(*) AS policies FROM burst_policy")
    return int(row["policies"]) if row else 0


async def delete_policy(tx: Transaction, policy_id: str) -> bool:
    """Drops a policy and its buckets; False when there is none."""
    await empty(tx, policy_id)
    return await tx.execute("DELETE FROM burst_policy WHERE policy_id = :policy_id", {"policy_id": policy_id}) == 1


async def tat(tx: Transaction, policy_id: str, bucket: str, latest_ns: int) -> int | None:
    """The theoretical arrival time of a bucket in nanoseconds; None when nothing was taken from it for long.

    What was taken later than `latest_ns` was so before the clock was set back, and counts no more.
    """
    row = await tx.fetch_one(
        "SELECT tat_ns FROM burst_state WHERE policy_id = :policy_id AND bucket = :bucket AND since_ns <= :latest_ns",
        {"policy_id": policy_id, "bucket": bucket, "latest_ns": latest_ns},
    )
    return int(row["tat_ns"]) if row else None


async def put_tat(tx: Transaction, policy_id: str, bucket: str, tat_ns: int, now_ns: int) -> None:
    """Sets the theoretical arrival time of a bucket."""
    await tx.execute(
        "INSERT INTO burst_state (policy_id, bucket, tat_ns, since_ns) VALUES (:policy_id, :bucket, :tat_ns, :now_ns)"
        " ON CONFLICT (policy_id, bucket) DO UPDATE SET tat_ns = excluded.tat_ns, since_ns = excluded.since_ns",
        {"policy_id": policy_id, "bucket": bucket, "tat_ns": tat_ns, "now_ns": now_ns},
    )


async def stretch(tx: Transaction, policy_id: str, factor: float, most_ns: int, now_ns: int) -> None:
    """Makes what each bucket owes take another time to come back: so many times as long, and no longer than a whole bucket."""
    await tx.execute(
        "UPDATE burst_state SET tat_ns = :now_ns + CASE"
        " WHEN (tat_ns - :now_ns) * CAST(:factor AS DOUBLE PRECISION) >= :most_ns THEN :most_ns"
        " ELSE CAST((tat_ns - :now_ns) * CAST(:factor AS DOUBLE PRECISION) AS BIGINT) END"
        " WHERE policy_id = :policy_id AND tat_ns > :now_ns",
        {"policy_id": policy_id, "factor": factor, "most_ns": most_ns, "now_ns": now_ns},
    )


async def empty(tx: Transaction, policy_id: str) -> None:
    """Drops what was used of a policy."""
    await tx.execute("DELETE FROM burst_state WHERE policy_id = :policy_id", {"policy_id": policy_id})


async def forget_full(tx: Transaction, now_ns: int, limit: int) -> int:
    """Drops at most `limit` buckets that are full again, which is what a missing one is; gives their number."""
    return await tx.execute(
        "DELETE FROM burst_state WHERE (policy_id, bucket) IN"
        " (SELECT policy_id, bucket FROM burst_state WHERE tat_ns <= :now_ns LIMIT :limit)",
        {"now_ns": now_ns, "limit": limit},
    )


def _policy(row: Row) -> Policy:
    return Policy(
        row["policy_id"],
        Measure(row["measure"]),
        row["rate"],
        timedelta(microseconds=row["period_us"]),
        row["burst"],
        from_text(row["labels"]),
        tuple(json.loads(row["by_labels"])),
        Mode(row["mode"]),
        timedelta(microseconds=row["max_wait_us"]),
        row["display_name"],
        from_us(row["created_us"]),
        from_us(row["updated_us"]),
    )
