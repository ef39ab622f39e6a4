"""The settings as the rules that the domain asks for."""

from datetime import timedelta

from services.provider.attempts import Limits
from services.provider.breaker import Rule
from services.provider.cooldown import Lengths
from services.provider.estimating import Tuning
from services.provider.failure import FailureKind
from services.provider.health_window import Grain
from services.provider.retrying import RetryBudget, RetryPolicy
from services.provider.settings import ProviderSettings


def grain(settings: ProviderSettings) -> Grain:
    """How the rolling windows are cut."""
    return Grain(settings.health_bucket, settings.health_buckets)


def breaker(settings: ProviderSettings) -> Rule:
    """When breakers open, and for how long."""
    return Rule(
        settings.breaker_in_row,
        settings.breaker_ratio,
        settings.breaker_least_calls,
        settings.breaker_open,
        settings.breaker_longest_open,
        settings.breaker_trials,
        settings.breaker_lease,
    )


def tuning(settings: ProviderSettings) -> Tuning:
    """How lengths of answers are learned."""
    return Tuning(
        settings.estimate_quantile,
        settings.estimate_weight,
        settings.estimate_prior_calls,
        settings.default_output_tokens,
        settings.estimate_step,
    )


def cooldowns(settings: ProviderSettings) -> Lengths:
    """How long things rest."""
    return Lengths(
        settings.cooldown_rate_limited,
        settings.cooldown_quota,
        settings.cooldown_unauthenticated,
        settings.cooldown_not_found,
        settings.cooldown_longest,
        settings.longest_retry_after,
    )


def limits(settings: ProviderSettings, deadline: timedelta, *, silent: bool) -> Limits:
    """How long a request that has this much time may go on, and how often it may try."""
    retries = {
        FailureKind.RATE_LIMITED: settings.retries_rate_limited,
        FailureKind.TIMEOUT: settings.retries_timeout,
        FailureKind.UNREACHABLE: settings.retries_unreachable,
        FailureKind.SERVER_ERROR: settings.retries_server_error,
        FailureKind.MALFORMED: settings.retries_malformed,
        FailureKind.BROKEN_STREAM: settings.retries_broken_stream,
    }
    return Limits(
        deadline,
        settings.attempt_timeout,
        settings.whole_answer_timeout if silent else settings.first_token_timeout,
        settings.least_attempt,
        settings.max_attempts,
        settings.max_targets,
        RetryPolicy(retries, settings.retry_base, settings.retry_longest),
    )


def retry_budget(settings: ProviderSettings) -> RetryBudget:
    """The retries of this process."""
    return RetryBudget(settings.retry_share, settings.retry_minimum, settings.retry_window)


def memory(settings: ProviderSettings) -> timedelta:
    """How long what is over is kept: as long as it makes a difference."""
    return max(settings.health_memory, settings.health_bucket * settings.health_buckets)
