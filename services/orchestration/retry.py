"""Whether a refused call is made again, and after how long."""

from services.orchestration.dag import RetryRule
from services.orchestration.run import Failure

# nothing was applied
_ALWAYS = "UNAVAILABLE"
# only when the answer says when to come back
_WHEN_ASKED = "RESOURCE_EXHAUSTED"


def delay_s(rule: RetryRule, failures: int, failure: Failure, asked_s: float | None, longest_s: float) -> float | None:
    """Seconds to wait before the next attempt after `failures` refusals (this one included), or None when there is none.

    Exponential backoff, base 2, up to `longest_s`. `asked_s` is the RetryInfo of the answer, None when it had none: a longer one
    wins, and one longer than `longest_s` means that waiting is not worth it.
    """
    usual = failure.code == _ALWAYS or (failure.code == _WHEN_ASKED and asked_s is not None)
    if failures >= rule.max_attempts or not (usual or failure.code in rule.codes):
        return None
    if asked_s is not None and asked_s > longest_s:
        return None
    backoff: float = rule.backoff.total_seconds() * 2 ** (failures - 1)
    return max(min(backoff, longest_s), asked_s or 0.0)
