"""Between messages and what selection knows: policies, aliases, demands, weights."""

from datetime import datetime

from msgspec.structs import asdict
from tooloo.provider.v1 import provider_pb2, selection_pb2

from services.provider import wire
from services.provider.constraints import DATA_POLICIES, Constraints
from services.provider.policy import Alias, Policy, Share
from services.provider.strategies import Strategy, Weights


def from_constraints(message: selection_pb2.Constraints, field: str) -> Constraints:
    """What is demanded; INVALID_ARGUMENT for an amount that is none."""
    return Constraints(
        frozenset(message.capabilities),
        message.min_context_window,
        frozenset(message.allowed),
        frozenset(message.forbidden),
        frozenset(message.regions),
        DATA_POLICIES[message.data_policy],
        wire.from_money(message.max_cost, f"{field}.max_cost") if message.HasField("max_cost") else None,
        message.min_quality,
    )


def to_constraints(constraints: Constraints) -> selection_pb2.Constraints:
    """What is demanded."""
    message = selection_pb2.Constraints(
        capabilities=sorted(constraints.capabilities),
        min_context_window=constraints.min_context_window,
        allowed=sorted(constraints.allowed),
        forbidden=sorted(constraints.forbidden),
        regions=sorted(constraints.regions),
        data_policy=selection_pb2.DataPolicy.ValueType(DATA_POLICIES.index(constraints.data_policy)),
        min_quality=constraints.min_quality,
    )
    if constraints.max_cost is not None:
        message.max_cost.CopyFrom(wire.to_money(constraints.max_cost))
    return message


def from_weights(message: selection_pb2.ScoreWeights) -> Weights:
    """Weights of the parts of a score."""
    return Weights(message.cost, message.quality, message.speed, message.uptime)


def from_share(message: selection_pb2.Share) -> Share:
    """A model and its weight."""
    return Share(message.provider_id, message.model, message.weight)


def to_share(share: Share) -> selection_pb2.Share:
    """A model and its weight."""
    return selection_pb2.Share(provider_id=share.provider_id, model=share.model, weight=share.weight)


def from_policy(message: selection_pb2.SelectionPolicy) -> Policy:
    """The policy of a request."""
    return Policy(
        message.policy_id,
        message.display_name,
        Strategy(message.strategy or Strategy.BALANCED),
        from_weights(message.weights) if message.HasField("weights") else None,
        message.quality_weight if message.HasField("quality_weight") else None,
        from_constraints(message.constraints, "policy.constraints"),
        tuple(map(from_share, message.shares)),
    )


def to_policy(policy: Policy) -> selection_pb2.SelectionPolicy:
    """A policy."""
    message = selection_pb2.SelectionPolicy(
        policy_id=policy.policy_id,
        display_name=policy.display_name,
        strategy=provider_pb2.Strategy.ValueType(policy.strategy),
        quality_weight=policy.quality_weight,
        constraints=to_constraints(policy.constraints),
        shares=map(to_share, policy.shares),
    )
    if policy.weights is not None:
        message.weights.CopyFrom(selection_pb2.ScoreWeights(**asdict(policy.weights)))
    if policy.created is not None and policy.updated is not None:
        message.create_time.CopyFrom(wire.to_timestamp(policy.created))
        message.update_time.CopyFrom(wire.to_timestamp(policy.updated))
    return message


def from_alias(message: selection_pb2.Alias, created: datetime, updated: datetime) -> Alias:
    """The alias of a request."""
    return Alias(message.alias, tuple(map(from_share, message.targets)), created, updated)


def to_alias(alias: Alias) -> selection_pb2.Alias:
    """An alias."""
    return selection_pb2.Alias(
        alias=alias.alias,
        targets=map(to_share, alias.targets),
        create_time=wire.to_timestamp(alias.created),
        update_time=wire.to_timestamp(alias.updated),
    )
