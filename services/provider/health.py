"""How providers and models do: success and speed as moving averages of the outcomes that were told."""

import enum
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

PRIOR_UPTIME = 0.99


class State(enum.IntEnum):
    """Whether a provider can be used; the numbers are those of the contract's ProviderState."""

    AVAILABLE = 1
    DEGRADED = 2
    UNAVAILABLE = 3
    NOT_CONFIGURED = 4


class ModelHealth(Struct, frozen=True):
    """What was seen of one model: `uptime` 0..1, `tokens_per_second` None until a success told its latency."""

    uptime: float = PRIOR_UPTIME
    tokens_per_second: float | None = None
    outcomes: int = 0


class ProviderHealth(Struct, frozen=True):
    """What was seen of one provider: failures since the last success, whether its local address answers, the state told last."""

    failures_in_row: int = 0
    reachable: bool = False
    told: State | None = None


def after_outcome(health: ModelHealth, *, success: bool, output_tokens: int, latency: timedelta, weight: float) -> ModelHealth:
    """The model's health after one more call; `weight` (0..1) is what the newest call counts (exponential moving average)."""
    uptime = health.uptime + weight * ((1.0 if success else 0.0) - health.uptime)
    speed = health.tokens_per_second
    if success and output_tokens > 0 and latency > timedelta():
        seen = output_tokens / latency.total_seconds()
        speed = seen if speed is None else speed + weight * (seen - speed)
    return ModelHealth(uptime, speed, health.outcomes + 1)


def after_call(health: ProviderHealth, *, success: bool) -> ProviderHealth:
    """The provider's health after one more call to any of its models."""
    if success and not health.failures_in_row:
        # as nearly always
        return health
    return replace(health, failures_in_row=0 if success else health.failures_in_row + 1)


def judge(health: ProviderHealth, *, local: bool, has_key: bool, degraded_after: int) -> State:
    """The state that what was seen amounts to."""
    if local and not health.reachable:
        return State.UNAVAILABLE
    if health.failures_in_row >= degraded_after:
        return State.DEGRADED
    return State.AVAILABLE if local or has_key else State.NOT_CONFIGURED
