"""Burst policies to messages of the contract and back."""

from datetime import datetime, timedelta

from tooloo.provider.v1 import burst_service_pb2 as api

from mesh import errors
from services.provider import labels as labels_module
from services.provider import wire
from services.provider.burst import LONGEST, Measure, Mode, Policy, Verdict, from_ns, to_ns
from services.provider.settings import ProviderSettings


def from_policy(known: ProviderSettings, message: api.BurstPolicy, policy_id: str, now: datetime) -> Policy:
    """The policy of a request, with the server's choices where it leaves them open."""
    longest = known.burst_max_wait
    wait = wire.from_duration(message.max_wait, "policy.max_wait") if message.HasField("max_wait") else longest
    if wait > longest:
        raise errors.invalid("policy.max_wait", f"must be at most {longest.total_seconds():g} s (setting burst_max_wait)")
    for place, name in enumerate(message.by):
        if name in labels_module.RESERVED:
            raise errors.invalid(f"policy.by[{place}]", f"{name!r} cannot be the name of a label")
    policy = Policy(
        policy_id,
        Measure(message.measure),
        message.rate,
        wire.from_duration(message.period, "policy.period"),
        message.burst or message.rate,
        wire.from_scope(known, message.scope, "policy.scope"),
        tuple(message.by),
        Mode(message.mode or Mode.REFUSE),
        wait,
        message.display_name,
        now,
        now,
    )
    if policy.tolerance > to_ns(LONGEST):
        raise errors.invalid("policy.burst", f"it would take longer than {LONGEST.days} days to refill; lower it or raise the rate")
    return policy


def to_policy(policy: Policy) -> api.BurstPolicy:
    """A policy."""
    return api.BurstPolicy(
        policy_id=policy.policy_id,
        display_name=policy.display_name,
        scope=wire.to_scope(policy.scope),
        by=policy.by,
        measure=api.BurstPolicy.Measure.ValueType(policy.measure),
        rate=policy.rate,
        period=wire.to_duration(policy.period),
        burst=policy.burst,
        mode=api.BurstPolicy.Mode.ValueType(policy.mode),
        max_wait=wire.to_duration(policy.max_wait),
        create_time=wire.to_timestamp(policy.created),
        update_time=wire.to_timestamp(policy.updated),
    )


def to_standing(verdict: Verdict, credit: int) -> api.BurstStanding:
    """How a policy stands to a call."""
    standing = api.BurstStanding(policy_id=verdict.policy.policy_id, credit=credit, allowed=verdict.passes(None))
    if verdict.wait is not None:
        standing.wait.CopyFrom(wire.to_duration(from_ns(verdict.wait) if verdict.wait else timedelta()))
    return standing
