"""AnalyticsService: gRPC in, domain call, gRPC out."""

# grpcio's classes are generic in its type stubs only, so annotations must not be evaluated
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.analytics.v1 import analytics_service_pb2_grpc, metric_pb2
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors, page
from mesh.clock import from_us, to_us
from mesh.db import Transaction
from mesh.host import Host
from services.analytics import buckets, events, series, wire
from services.analytics.badges import Rule
from services.analytics.buckets import DAY, HOUR, MINUTE, SECOND, Segment
from services.analytics.flows.overview import OverviewReader
from services.analytics.flows.upkeep import minutes_from
from services.analytics.settings import AnalyticsSettings
from services.analytics.sketch import ERROR_BOUND
from services.analytics.store import metrics, spans, users

_AUTO_POINTS = 120
_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class _Query:
    """A query of a metric with its span on full steps (microseconds)."""

    name: str
    start_us: int
    end_us: int
    step_us: int
    match: Sequence[str]
    quantiles: Sequence[float]


class AnalyticsService(analytics_service_pb2_grpc.AnalyticsServiceServicer):
    """Answers the calls of the contract."""

    def __init__(self, host: Host, settings: AnalyticsSettings, rules: Sequence[Rule]) -> None:
        self._host = host
        self._settings = settings
        self._rules = rules
        self._problems = {rule.id: events.problem_of(rule) for rule in rules}
        self._overview = OverviewReader(settings, settings.policy())

    async def LogMetric(self, request: pb.LogMetricRequest, context: Any) -> pb.LogMetricResponse:
        """Keeps a value and tells metric.logged, in one transaction."""
        if request.name.startswith(series.RESERVED):
            raise errors.invalid("name", f"names that begin with {series.RESERVED!r} are made by analytics itself; choose another")
        time_us = self._logged_time(request)
        labels = series.canonical(request.labels)

        async def effect(tx: Transaction) -> pb.LogMetricResponse:
            if await metrics.find_series(tx, request.name, labels) is None:
                await self._refuse_too_many_series(tx, request.name)
            latency = series.seconds_per_unit(request.name) is not None
            series_id = await metrics.touch_series(tx, request.name, labels, latency, time_us, time_us)
            await metrics.add_sample(tx, metrics.Sample(series_id, time_us, request.value))
            time = wire.timestamp(time_us)
            event_id = await self._host.tell(tx, events.metric_logged(request.name, request.value, request.labels, time))
            return pb.LogMetricResponse(name=request.name, time=time, event_id=event_id)

        return await self._host.once(request, pb.LogMetricResponse, effect)

    def _logged_time(self, request: pb.LogMetricRequest) -> int:
        now = self._host.clock.now()
        if not request.HasField("time"):
            return to_us(now)
        oldest, newest = now - self._settings.hour_retention, now + self._settings.max_metric_ahead
        time_us = request.time.ToMicroseconds()
        if not to_us(oldest) <= time_us <= to_us(newest):
            raise errors.out_of_range(
                "the time lies outside what is kept", oldest_time=oldest.isoformat(), newest_time=newest.isoformat()
            )
        return time_us

    async def _refuse_too_many_series(self, tx: Transaction, name: str) -> None:
        own, total = await metrics.count_series(tx, name)
        for setting, limit, count, what in (
            ("max_series_per_metric", self._settings.max_series_per_metric, own, f"metric {name!r} has"),
            ("max_series", self._settings.max_series, total, "all metrics together have"),
        ):
            if count >= limit:
                raise errors.exhausted(
                    AnalyticsSettings.env_name(setting),
                    f"{what} {count} distinct sets of labels; log with fewer label values or raise {setting}",
                )

    async def GetAnalyticsOverview(self, request: pb.GetAnalyticsOverviewRequest, context: Any) -> pb.GetAnalyticsOverviewResponse:
        """Reads the span in one snapshot."""
        now = self._host.clock.now()
        start_us, end_us = self._span_of(request, to_us(now))
        end_us = min(end_us, to_us(now))
        if start_us >= end_us:
            raise errors.invalid("from", "must lie before `to` and before now")
        longest = self._settings.max_overview_span
        if end_us - start_us > longest.total_seconds() * SECOND:
            raise errors.invalid("from", f"the span is longer than {longest.days} days (setting max_overview_span)")
        first_us, last_us = buckets.snap(start_us, end_us, minutes_from(now, self._settings))
        return await self._host.db.read(lambda tx: self._overview.read(tx, first_us, last_us, now))

    def _span_of(self, request: pb.GetAnalyticsOverviewRequest | pb.QueryMetricRequest, now_us: int) -> tuple[int, int]:
        """The span asked for; an hour up to the end, and up to now, when nothing is said."""
        end_us = request.to.ToMicroseconds() if request.HasField("to") else now_us
        # "from" is a word of Python, so it cannot be written as an attribute
        start: Timestamp = getattr(request, "from")
        return (start.ToMicroseconds() if request.HasField("from") else max(0, end_us - HOUR)), end_us

    async def ListMetrics(self, request: pb.ListMetricsRequest, context: Any) -> pb.ListMetricsResponse:
        """Pages by name."""
        query = page.fingerprint(request)
        after = _text(page.decode_token(request.page_token, query).get("name", ""))
        size = page.size_of(request.page_size)
        found = await self._host.db.read(lambda tx: metrics.metrics(tx, after, size + 1))
        return pb.ListMetricsResponse(
            metrics=[
                metric_pb2.Metric(
                    name=one.name,
                    series_count=one.series_count,
                    first_time=wire.timestamp(one.first_us),
                    last_time=wire.timestamp(one.last_us),
                )
                for one in found[:size]
            ],
            next_page_token=page.encode_token({"name": found[size - 1].name}, query) if len(found) > size else "",
        )

    async def QueryMetric(self, request: pb.QueryMetricRequest, context: Any) -> pb.QueryMetricResponse:
        """Merges the buckets of the series that fit, step by step."""
        query = self._query_of(request)
        return await self._host.db.read(lambda tx: self._query(tx, query))

    def _query_of(self, request: pb.QueryMetricRequest) -> _Query:
        now = self._host.clock.now()
        start_us, end_us = self._span_of(request, to_us(now))
        if start_us >= end_us:
            raise errors.invalid("from", "must lie before `to`")
        minutes_us = minutes_from(now, self._settings)
        step_us = request.step.ToMicroseconds()
        if step_us % MINUTE:
            raise errors.invalid("step", "must be whole minutes, e.g. 60s or 3600s")
        if not step_us:
            step_us = buckets.step_for(end_us - start_us, _AUTO_POINTS)
            step_us = step_us if buckets.floor(start_us, step_us) >= minutes_us else buckets.ceil(step_us, HOUR)
        start_us, end_us = buckets.floor(start_us, step_us), buckets.ceil(end_us, step_us)
        if (end_us - start_us) // step_us > self._settings.max_points:
            raise errors.invalid(
                "step", f"gives more than {self._settings.max_points} points (setting max_points); take a longer one"
            )
        if start_us < minutes_us and buckets.width_for(step_us) == MINUTE:
            kept = from_us(minutes_us).isoformat()
            raise errors.out_of_range("only hours are kept that far back; take a step of whole hours", minutes_kept_from=kept)
        return _Query(request.name, start_us, end_us, step_us, request.match, request.quantiles or wire.QUANTILES)

    async def _query(self, tx: Transaction, query: _Query) -> pb.QueryMetricResponse:
        known = await metrics.labels_of(tx, query.name)
        if not known:
            raise errors.not_found("metric", query.name)
        segment = Segment(buckets.width_for(query.step_us), query.start_us, query.end_us)
        if await metrics.count_buckets(tx, query.name, [segment]) > self._settings.max_query_buckets:
            raise errors.exhausted(
                AnalyticsSettings.env_name("max_query_buckets"),
                "the query reads too many buckets; take a shorter span or steps of whole hours",
            )
        fitting = {labels for labels in known if series.fits(series.parse(labels), query.match)}
        found = [one for one in await spans.read_metric(tx, query.name, [segment]) if one.labels in fitting]
        steps = buckets.points(((one.start_us, one.summary) for one in found), query.step_us)
        answer = pb.QueryMetricResponse(
            name=query.name,
            to=wire.timestamp(query.end_us),
            step=wire.length(query.step_us / SECOND),
            points=[
                metric_pb2.MetricPoint(time=wire.timestamp(start_us), distribution=wire.distribution(summary, query.quantiles))
                for start_us, summary in steps.items()
            ],
            total=wire.distribution(buckets.total(steps.values()), query.quantiles),
            series_count=len(fitting),
            error_bound=ERROR_BOUND,
        )
        getattr(answer, "from").CopyFrom(wire.timestamp(query.start_us))
        return answer

    async def GetUserProgress(self, request: pb.GetUserProgressRequest, context: Any) -> pb.GetUserProgressResponse:
        """Reads activity, masteries and number of badges."""

        async def work(tx: Transaction) -> pb.GetUserProgressResponse:
            seen = await users.activity(tx, request.user_id, DAY)
            masteries = await users.masteries(tx, request.user_id, self._settings.max_masteries)
            return pb.GetUserProgressResponse(
                user_id=request.user_id,
                event_count=seen.event_count,
                active_days=seen.active_days,
                first_time=wire.timestamp(seen.first_us) if seen.event_count else None,
                last_time=wire.timestamp(seen.last_us) if seen.event_count else None,
                masteries=[
                    pb.SkillMastery(
                        domain=one.domain,
                        skill=one.skill,
                        level=one.level,
                        level_low=one.level_low,
                        time=wire.timestamp(one.time_us),
                    )
                    for one in masteries
                ],
                badge_count=len((await users.standing(tx, request.user_id))[1]),
            )

        return await self._host.db.read(work)

    async def ListEarnedBadges(self, request: pb.ListEarnedBadgesRequest, context: Any) -> pb.ListEarnedBadgesResponse:
        """Pages by time and id."""
        query = page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        after = (_integer(cursor.get("earned_us", -1)), _text(cursor.get("badge_id", "")))
        size = page.size_of(request.page_size)
        found = await self._host.db.read(lambda tx: users.earned_badges(tx, request.user_id, after, size + 1))
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = page.encode_token({"earned_us": last.earned_us, "badge_id": last.badge_id}, query)
        return pb.ListEarnedBadgesResponse(badges=[wire.earned_badge(one) for one in found[:size]], next_page_token=token)

    async def ListBadgeRules(self, request: pb.ListBadgeRulesRequest, context: Any) -> pb.ListBadgeRulesResponse:
        """The rules as loaded at boot, with the progress of the user named."""
        answer = pb.ListBadgeRulesResponse(rules=[wire.badge_rule(rule, self._problems[rule.id]) for rule in self._rules])
        if request.user_id:
            values, earned = await self._host.db.read(lambda tx: users.standing(tx, request.user_id))
            for rule, message in zip(self._rules, answer.rules, strict=True):
                progress = wire.badge_progress(rule, values.get(rule.id, 0.0), earned=rule.id in earned)
                message.progress.CopyFrom(progress)
        return answer


def _text(found: object) -> str:
    """A text of a page token's cursor."""
    # JSON can spell lone surrogates, which no text column takes
    if not isinstance(found, str) or not found.isprintable():
        raise _bad_token()
    return found


def _integer(found: object) -> int:
    """A number of a page token's cursor."""
    if not isinstance(found, int) or abs(found) > _LARGEST_INTEGER:
        raise _bad_token()
    return found


def _bad_token() -> errors.Refusal:
    reason = ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN
    return errors.invalid("page_token", "this query did not give that token; start again without one", reason=reason)
