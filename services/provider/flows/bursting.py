"""Burst policies on their store: all that cover a call let it through, or none is touched."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from mesh.clock import to_us
from mesh.db import Transaction
from services.provider import burst_store
from services.provider.burst import Load, Measure, Policy, Taken, Verdict, corrected, from_ns, judge, wait_of
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.reservation import Denial, Source

_NANOS_PER_MICROSECOND = 1000


class Turn(Struct, frozen=True):
    """A call that all policies let through, after a wait."""

    wait: timedelta = timedelta()
    taken: tuple[Taken, ...] = ()


def now_ns(now: datetime) -> int:
    """Nanoseconds since the Unix epoch, the form in which buckets are kept."""
    return to_us(now) * _NANOS_PER_MICROSECOND


async def verdicts(tx: Transaction, known: Known, labels: Labels, load: Load, now: datetime) -> list[Verdict]:
    """What every policy that covers the labels says, by id; changes nothing."""
    found = []
    for policy in await _covering(tx, known, labels):
        key = policy.key(labels)
        tat = await tat_of(tx, policy, key, now_ns(now))
        found.append(judge(policy, key, tat, load.of(policy.measure), now_ns(now)))
    return found


async def tat_of(tx: Transaction, policy: Policy, key: str, now: int) -> int | None:
    """The TAT of a bucket; None, as for a full one, when the clock was set back by more than a whole bucket since it was used.

    Otherwise it would stay empty until the clock has caught up.
    """
    return await burst_store.tat(tx, policy.policy_id, key, now + policy.tolerance)


async def _covering(tx: Transaction, known: Known, labels: Labels) -> list[Policy]:
    return [policy for policy in (await known.limits.read(tx)).policies if policy.scope.covers(labels)]


async def admit(
    tx: Transaction,
    known: Known,
    labels: Labels,
    load: Load,
    now: datetime,
    *,
    max_wait: timedelta | None = None,
    dry_run: bool = False,
) -> Turn | tuple[Denial, ...]:
    """Takes the call's turn at every policy, all or none; without a turn, every policy that stands against it.

    The TAT is taken at once also by a call that waits, so turns come in the order of the calls.
    """
    said = await verdicts(tx, known, labels, load, now)
    against = tuple(_denial(verdict) for verdict in said if not verdict.passes(max_wait))
    if against:
        return against
    return Turn(wait_of(said), () if dry_run else await _take(tx, said, load, now_ns(now)))


async def _take(tx: Transaction, said: Sequence[Verdict], load: Load, now: int) -> tuple[Taken, ...]:
    taken = []
    for verdict in said:
        if units := load.of(verdict.policy.measure):
            await burst_store.put_tat(tx, verdict.policy.policy_id, verdict.key, verdict.tat, now)
            taken.append(Taken(verdict.policy.policy_id, verdict.key, units, verdict.tat))
    return tuple(taken)


async def correct(tx: Transaction, known: Known, taken: Sequence[Taken], used: Load, now: datetime) -> None:
    """Sets right what a call took: it used less or more than was expected. What it took in parts counts together."""
    if not taken:
        return
    policies = {policy.policy_id: policy for policy in (await known.limits.read(tx)).policies}
    left = {key: used.of(policies[key].measure) for key in {item.policy_id for item in taken} & policies.keys()}
    for place, item in enumerate(taken):
        policy = policies.get(item.policy_id)
        if policy is None:
            continue
        last = all(other.policy_id != item.policy_id for other in taken[place + 1 :])
        part = left[item.policy_id] if last else min(left[item.policy_id], item.units)
        left[item.policy_id] -= part
        if part != item.units:
            await _correct(tx, policy, item, part, now_ns(now))


async def _correct(tx: Transaction, policy: Policy, item: Taken, used: int, now: int) -> None:
    tat = await tat_of(tx, policy, item.key, now)
    # a bucket that is not there any more is full
    after = corrected(policy, now if tat is None else tat, item, used, now)
    await burst_store.put_tat(tx, item.policy_id, item.key, after, now)


async def carry_over(tx: Transaction, before: Policy, after: Policy, now: datetime) -> None:
    """What callers owe when a policy is set anew: as many units as before, at the new rate; nothing when it counts something else.

    Buckets hold times, so a policy that was far too strict would go on blocking at its old rate.
    """
    if (before.measure, before.scope, before.by) != (after.measure, after.scope, after.by):
        await burst_store.empty(tx, after.policy_id)
    elif (factor := before.rate * (after.period / before.period) / after.rate) != 1:
        await burst_store.stretch(tx, after.policy_id, factor, after.tolerance, now_ns(now))


def _denial(verdict: Verdict) -> Denial:
    policy = verdict.policy
    what = {Measure.REQUESTS: "calls", Measure.TOKENS: "tokens", Measure.MONEY: "nano dollars"}[policy.measure]
    agreed = f"{policy.rate} {what} in {policy.period.total_seconds():g} s, at most {policy.burst} at once"
    if verdict.wait is None:
        detail = f"burst policy {policy.policy_id} never lets so much through: {agreed}; ask for less, or raise its burst"
        return Denial(Source.BURST, policy.policy_id, detail, None)
    wait = from_ns(verdict.wait)
    detail = f"burst policy {policy.policy_id} ({agreed}) lets this through in {wait.total_seconds():g} s"
    return Denial(Source.BURST, policy.policy_id, detail, wait)
