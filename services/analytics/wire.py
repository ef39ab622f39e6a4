"""Domain values as messages of the contract."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.analytics.v1 import badge_pb2, health_pb2, metric_pb2, overview_pb2

from services.analytics.badges import Kind, Rule
from services.analytics.buckets import SECOND, Summary
from services.analytics.health import Band, Health
from services.analytics.store.users import Earned

QUANTILES = (0.5, 0.9, 0.95, 0.99)
_KINDS = {
    Kind.COUNT: badge_pb2.BADGE_RULE_KIND_COUNT,
    Kind.DISTINCT: badge_pb2.BADGE_RULE_KIND_DISTINCT,
    Kind.MAX: badge_pb2.BADGE_RULE_KIND_MAX,
    Kind.STREAK: badge_pb2.BADGE_RULE_KIND_STREAK,
}
# google.protobuf.Duration ends there; a metric may hold more
_LONGEST_SECONDS = 315_576_000_000


def timestamp(time_us: int) -> Timestamp:
    """A time in microseconds since the epoch."""
    return Timestamp(seconds=time_us // SECOND, nanos=time_us % SECOND * 1000)


def length(seconds: float) -> Duration:
    """A length of time in seconds, to the nanosecond; what a Duration cannot hold becomes its limit."""
    nanos = round(max(-_LONGEST_SECONDS, min(seconds, _LONGEST_SECONDS)) * 1e9)
    found = Duration()
    found.FromNanoseconds(nanos)
    return found


def distribution(summary: Summary, quantiles: Sequence[float]) -> metric_pb2.Distribution:
    """A set of values; empty when there are none."""
    if not summary.count:
        return metric_pb2.Distribution()
    return metric_pb2.Distribution(
        count=summary.count,
        sum=summary.sum,
        min=summary.min,
        max=summary.max,
        mean=summary.mean,
        quantiles=[metric_pb2.Quantile(quantile=q, value=summary.quantile(q)) for q in quantiles],
    )


def latency(name: str, origin: overview_pb2.LatencyOrigin.ValueType, summary: Summary, scale: float = 1.0) -> overview_pb2.Latency:
    """A set of lengths of time; `scale` is the length of the values' unit in seconds."""
    return overview_pb2.Latency(
        name=name,
        origin=origin,
        count=summary.count,
        mean=length(summary.mean * scale),
        max=length(summary.max * scale),
        quantiles=[overview_pb2.LatencyQuantile(quantile=q, value=length(summary.quantile(q) * scale)) for q in QUANTILES],
    )


def health_parts(seen: Health) -> list[health_pb2.HealthPart]:
    """The parts of a score as the contract has them."""
    return [
        health_pb2.HealthPart(
            aspect=health_pb2.HealthAspect.ValueType(part.aspect),
            score=part.score,
            weight=part.weight,
            samples=part.samples,
            samples_needed=part.needed,
            detail=part.detail,
        )
        for part in seen.parts
    ]


def service_score(service: str, band: Band, seen: Health, last_event_us: int | None) -> health_pb2.ServiceScore:
    """A service's health with its parts."""
    return health_pb2.ServiceScore(
        service=service,
        band=health_pb2.HealthBand.ValueType(band),
        score=seen.score,
        parts=health_parts(seen),
        down=seen.down,
        last_event_time=None if last_event_us is None else timestamp(last_event_us),
    )


def badge_rule(rule: Rule, problem: str) -> badge_pb2.BadgeRule:
    """A rule without anyone's progress."""
    return badge_pb2.BadgeRule(
        badge_id=rule.id,
        name=rule.name,
        description=rule.description,
        kind=_KINDS[rule.kind],
        event_types=rule.events,
        field=rule.field,
        conditions=map(str, rule.conditions),
        target=rule.target,
        problem=problem,
    )


def badge_progress(rule: Rule, value: float, *, earned: bool) -> badge_pb2.BadgeProgress:
    """Where a user stands. An earned badge stays whole, even when its rule asks for more by now."""
    fraction = 1.0 if earned else max(0.0, min(1.0, value / rule.target))
    return badge_pb2.BadgeProgress(value=value, fraction=fraction, earned=earned)


def earned_badge(earned: Earned) -> badge_pb2.EarnedBadge:
    """A badge that a user has."""
    return badge_pb2.EarnedBadge(
        badge_id=earned.badge_id,
        name=earned.name,
        description=earned.description,
        earn_time=timestamp(earned.earned_us),
        event_id=earned.event_id,
    )
