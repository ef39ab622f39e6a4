"""What events about answered conversations say of the models: values by provider and model, for metrics of analytics' own."""

import math
from collections.abc import Callable

ANSWERED = "tooloo.query.answered"
COST = "tooloo.query.cost_usd"
FIRST_TOKEN = "tooloo.query.first_token_seconds"  # noqa: S105 - a token of words
LATENCY = "tooloo.query.latency_seconds"
TYPES = {"provider.query.completed": 1.0, "provider.query.failed": 0.0}
# the caller's own doing, and our own, says nothing about a model
_NOT_OF_THE_MODEL = ("FAILURE_KIND_CANCELLED", "FAILURE_KIND_BAD_REQUEST", "FAILURE_KIND_LOST")
_NANOS = 1e9


def values_of(event_type: str, lookup: Callable[[str], object]) -> dict[str, float]:
    """Values by metric; `lookup` gives the field of the event's data at a path, None when it is not there.

    The mean of `answered` is the share of queries that a model answered to their end, which is how well it does its work; time is
    that of answers alone, for how long a failure took says nothing.
    """
    answered = TYPES[event_type]
    found: dict[str, object] = {COST: _amount(lookup)}
    if answered:
        found |= {LATENCY: lookup("latency"), FIRST_TOKEN: lookup("first_token_latency")}
    if lookup("failure") not in _NOT_OF_THE_MODEL:
        found[ANSWERED] = answered
    return {name: value for name, value in found.items() if isinstance(value, float) and math.isfinite(value) and value >= 0}


def _amount(lookup: Callable[[str], object]) -> float | None:
    units, nanos = lookup("cost.units"), lookup("cost.nanos")
    return units + nanos / _NANOS if isinstance(units, int) and isinstance(nanos, int) else None
