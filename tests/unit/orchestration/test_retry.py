"""Retries: which refusals are tried again, and after how long."""

from datetime import timedelta

import pytest

from services.orchestration import retry
from services.orchestration.dag import RetryRule
from services.orchestration.run import Failure

RULE = RetryRule(max_attempts=3, backoff=timedelta(seconds=1), codes=frozenset({"ABORTED"}))


@pytest.mark.parametrize(
    ("code", "failures", "asked", "delay"),
    [
        ("UNAVAILABLE", 1, None, 1.0),
        ("UNAVAILABLE", 2, None, 2.0),
        ("UNAVAILABLE", 3, None, None),
        ("UNAVAILABLE", 1, 5.0, 5.0),
        ("UNAVAILABLE", 1, 0.1, 1.0),
        ("UNAVAILABLE", 1, 61.0, None),
        ("RESOURCE_EXHAUSTED", 1, None, None),
        ("RESOURCE_EXHAUSTED", 1, 0.5, 1.0),
        ("ABORTED", 1, None, 1.0),
        ("INVALID_ARGUMENT", 1, None, None),
        ("DEADLINE_EXCEEDED", 1, None, None),
    ],
)
def test_delay(code: str, failures: int, asked: float | None, delay: float | None) -> None:
    """Only what may help is tried again, with backoff, as often as the rule says; a longer RetryInfo wins within the limit."""
    assert retry.delay_s(RULE, failures, Failure(code, "", ""), asked, longest_s=60.0) == delay


def test_backoff_has_a_ceiling() -> None:
    """Doubling stops at the longest wait."""
    rule = RetryRule(max_attempts=10, backoff=timedelta(seconds=20))
    assert retry.delay_s(rule, 5, Failure("UNAVAILABLE", "", ""), None, longest_s=60.0) == 60.0
