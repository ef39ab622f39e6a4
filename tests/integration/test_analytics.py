"""The analytics service over real gRPC and a real file: every call, every refusal, restarts, repeats, folding, health, badges."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from tooloo.analytics.v1 import analytics_events_pb2, analytics_service_pb2_grpc, badge_pb2, health_pb2, overview_pb2
from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.learning.v1 import learning_events_pb2, mastery_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2
from tooloo.provider.v1.health_pb2 import FailureKind
from tooloo.provider.v1.provider_events_pb2 import ProviderQueryCompleted, ProviderQueryFailed
from tooloo.system.v1 import system_events_pb2

from mesh import page, testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from mesh.outbox import Fact, make_event
from services.analytics.__main__ import build
from services.analytics.flows.upkeep import Upkeep
from services.analytics.settings import AnalyticsSettings

NOON = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
# the tests fold, forget and look at health themselves
QUIET = {f"TOOLOO_ANALYTICS_{name}_INTERVAL": "1d" for name in ("FOLD", "FORGET", "HEALTH")}
FEW = {"TOOLOO_ANALYTICS_MAX_SERIES": "4", "TOOLOO_ANALYTICS_MAX_SERIES_PER_METRIC": "2"}


class Lab:
    """A running analytics service with its clock and stub."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench = bench
        self.clock = clock

    @property
    def stub(self) -> Any:
        """A stub on the present channel."""
        return analytics_service_pb2_grpc.AnalyticsServiceStub(self.bench.channel)

    @property
    def upkeep(self) -> Upkeep:
        """The service's background work, to be done step by step."""
        return Upkeep(self.bench.host, self.bench.host.settings_of(AnalyticsSettings))

    async def hear(self, message: Message, *, at: datetime | None = None, source: str = "", event_id: str = "") -> bool:
        """Delivers an event that happened at a time, by default now."""
        event = make_event(Fact(message, "test"), source or "learning", self.clock, new_id)
        event.time.CopyFrom(stamp(at or self.clock.now()))
        event.id = event_id or event.id
        return await self.bench.hear_event(event)

    async def told(self, event_type: str) -> list[Any]:
        """The data of every event of a type told so far."""
        found = []
        for event in await self.bench.told():
            if event.type == event_type:
                data = {
                    "metric.logged": analytics_events_pb2.MetricLogged,
                    "badge.earned": analytics_events_pb2.BadgeEarned,
                    "health.changed": analytics_events_pb2.HealthChanged,
                }[event_type]()
                assert event.data.Unpack(data)
                found.append(data)
        return found

    async def overview(self, **span: datetime) -> pb.GetAnalyticsOverviewResponse:
        """The overview of a span; "start" and "end" are its ends."""
        answer: pb.GetAnalyticsOverviewResponse = await self.stub.GetAnalyticsOverview(
            spanned(pb.GetAnalyticsOverviewRequest(), **span)
        )
        return answer


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A fresh service at noon."""
    clock = ManualClock(NOON)
    async with testing.running("analytics", build, tmp_path, clock=clock, settings={**QUIET, **FEW}) as bench:
        yield Lab(bench, clock)


def stamp(moment: datetime) -> Timestamp:
    """A Timestamp of a datetime."""
    found = Timestamp()
    found.FromDatetime(moment)
    return found


def spanned(request: Any, start: datetime | None = None, end: datetime | None = None) -> Any:
    """A request with `from` and `to` set."""
    if start:
        getattr(request, "from").CopyFrom(stamp(start))
    if end:
        request.to.CopyFrom(stamp(end))
    return request


def completed(user_id: str = "ada", domain: str = "python") -> learning_events_pb2.TrainingCompleted:
    """A completed training."""
    return learning_events_pb2.TrainingCompleted(user_id=user_id, domain=domain, round_count=3, mean_score=0.5)


def node(milliseconds: int) -> orchestration_events_pb2.DagNodeCompleted:
    """A completed node that took so long."""
    return orchestration_events_pb2.DagNodeCompleted(duration=Duration(nanos=milliseconds * 1_000_000))


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str], str]:
    """Code, reason, metadata and message of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers = dict(caught.value.trailing_metadata() or ())
    raw = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason, dict(info.metadata), status.message


async def test_a_logged_metric_shows_at_once_and_after_folding(lab: Lab) -> None:
    """The answer is the same from the journal and from the buckets, within the stated bound."""
    for value in range(1, 101):
        await lab.stub.LogMetric(pb.LogMetricRequest(name="page_load_ms", value=value))
    query = pb.QueryMetricRequest(name="page_load_ms", quantiles=[0, 0.5, 0.99])
    before = await lab.stub.QueryMetric(query)
    assert await lab.upkeep.fold() == 100
    assert await lab.upkeep.fold() == 0
    after = await lab.stub.QueryMetric(query)
    assert before == after
    total = after.total
    assert (total.count, total.sum, total.min, total.max, total.mean) == (100, 5050, 1, 100, 50.5)
    assert [quantile.value for quantile in total.quantiles] == [
        pytest.approx(exact, rel=after.error_bound) for exact in (1, 50, 99)
    ]
    assert after.error_bound == 0.01
    assert len(after.points) == 1


async def test_a_restart_loses_nothing(lab: Lab) -> None:
    """Folded and unfolded values, badges and bands are all on disk."""
    await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1))
    await lab.upkeep.fold()
    await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=3))
    await lab.hear(completed())
    await lab.bench.restart()
    assert (await lab.stub.QueryMetric(pb.QueryMetricRequest(name="a"))).total.mean == 2
    assert [badge.badge_id for badge in (await lab.stub.ListEarnedBadges(pb.ListEarnedBadgesRequest(user_id="ada"))).badges] == [
        "first-training"
    ]


async def test_the_same_request_id_logs_once(lab: Lab) -> None:
    """The first answer again, one value, one event; another request under the id is refused."""
    request = pb.LogMetricRequest(request_id=new_id(), name="a", value=1, labels={"k": "v"})
    first = await lab.stub.LogMetric(request)
    assert await lab.stub.LogMetric(request) == first
    assert (await lab.stub.QueryMetric(pb.QueryMetricRequest(name="a"))).total.count == 1
    (told,) = await lab.told("metric.logged")
    assert (told.name, told.value, dict(told.labels)) == ("a", 1, {"k": "v"})
    request.value = 2
    assert (await refusal(lab.stub.LogMetric(request)))[1] == "REQUEST_ID_REUSED"


async def test_too_many_sets_of_labels_are_refused_by_name(lab: Lab) -> None:
    """Nothing is dropped in silence: the refusal names the setting, known series go on."""
    for value in ("1", "2"):
        await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1, labels={"k": value}))
    code, reason, _, message = await refusal(lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1, labels={"k": "3"})))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert "max_series_per_metric" in message
    await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1, labels={"k": "1"}))
    for name in ("b", "c"):
        await lab.stub.LogMetric(pb.LogMetricRequest(name=name, value=1))
    assert "max_series;" not in message
    assert "raise max_series" in (await refusal(lab.stub.LogMetric(pb.LogMetricRequest(name="d", value=1))))[3]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.LogMetricRequest(name="", value=1), "name"),
        (pb.LogMetricRequest(name="a b", value=1), "name"),
        (pb.LogMetricRequest(name="tooloo.mine", value=1), "name"),
        (pb.LogMetricRequest(name="a", value=float("nan")), "value"),
        (pb.LogMetricRequest(name="a", value=1e19), "value"),
        (pb.LogMetricRequest(name="a", labels={"k": "a\x00b"}), 'labels["k"]'),
        (pb.LogMetricRequest(name="a", time=Timestamp(seconds=-1)), "time"),
        (pb.LogMetricRequest(name="a", request_id="1"), "request_id"),
    ],
)
async def test_a_metric_that_does_not_fit_names_its_field(lab: Lab, request_: pb.LogMetricRequest, field: str) -> None:
    """INVALID_ARGUMENT by field, before anything is kept."""
    code, _, metadata, _ = await refusal(lab.stub.LogMetric(request_))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert field.split("[", maxsplit=1)[0] in metadata["fields"]
    assert not await lab.bench.told()


@pytest.mark.parametrize("away", [timedelta(minutes=6), timedelta(days=-401)])
async def test_a_time_outside_what_is_kept_is_out_of_range(lab: Lab, away: timedelta) -> None:
    """The refusal holds the range that stands."""
    code, reason, metadata, _ = await refusal(lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1, time=stamp(NOON + away))))
    assert (code, reason) == (grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE")
    assert metadata.keys() == {"oldest_time", "newest_time"}


async def test_a_metric_over_time_by_steps_and_labels(lab: Lab) -> None:
    """Steps that are empty are left out; a match takes only its series."""
    for minute, host in ((0, "x"), (0, "y"), (5, "x")):
        time = stamp(NOON - timedelta(minutes=10 - minute))
        await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=minute + 1, labels={"host": host}, time=time))
    query = spanned(pb.QueryMetricRequest(name="a", step=Duration(seconds=60)), NOON - timedelta(minutes=10), NOON)
    answer = await lab.stub.QueryMetric(query)
    assert [(point.time.ToDatetime(UTC).minute, point.distribution.count) for point in answer.points] == [(50, 2), (55, 1)]
    assert (answer.series_count, answer.to.ToDatetime(UTC).minute) == (2, 1)
    query.match.append("host=y")
    answer = await lab.stub.QueryMetric(query)
    assert (answer.series_count, answer.total.count) == (1, 1)
    query.match[0] = "host=z"
    answer = await lab.stub.QueryMetric(query)
    assert (answer.series_count, answer.total.count, len(answer.points)) == (0, 0, 0)


async def test_queries_that_cannot_be_answered_say_why(lab: Lab) -> None:
    """Unknown metric, wrong span, crooked step, too many points, minutes that are gone."""
    await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1))
    query = lab.stub.QueryMetric
    assert (await refusal(query(pb.QueryMetricRequest(name="b"))))[0] == grpc.StatusCode.NOT_FOUND
    assert (await refusal(query(spanned(pb.QueryMetricRequest(name="a"), NOON, NOON))))[2]["fields"] == "from"
    assert (await refusal(query(pb.QueryMetricRequest(name="a", step=Duration(seconds=90)))))[2]["fields"] == "step"
    week = spanned(pb.QueryMetricRequest(name="a", step=Duration(seconds=60)), NOON - timedelta(days=1), NOON + timedelta(days=6))
    assert (await refusal(query(week)))[2]["fields"] == "step"
    old = spanned(
        pb.QueryMetricRequest(name="a", step=Duration(seconds=60)), NOON - timedelta(days=4), NOON - timedelta(days=4, hours=-1)
    )
    code, _, metadata, _ = await refusal(query(old))
    assert code == grpc.StatusCode.OUT_OF_RANGE
    assert metadata["minutes_kept_from"].startswith("2026-11-20T12:00")
    old.step.seconds = 3600
    assert (await query(old)).total.count == 0
    assert (await query(spanned(pb.QueryMetricRequest(name="a"), datetime(1970, 1, 1, tzinfo=UTC)))).total.count == 1


async def test_a_query_that_reads_too_much_is_refused(tmp_path: Path) -> None:
    """The limit is named, and hours instead of minutes fit into it."""
    settings = {**QUIET, "TOOLOO_ANALYTICS_MAX_QUERY_BUCKETS": "3"}
    clock = ManualClock(NOON)
    async with testing.running("analytics", build, tmp_path, clock=clock, settings=settings) as bench:
        lab = Lab(bench, clock)
        for minute in range(5):
            await lab.stub.LogMetric(pb.LogMetricRequest(name="a_ms", value=1, time=stamp(NOON - timedelta(minutes=minute))))
        await lab.upkeep.fold()
        code, _, _, message = await refusal(lab.stub.QueryMetric(pb.QueryMetricRequest(name="a_ms", step=Duration(seconds=60))))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "whole hours" in message
        assert (await lab.stub.QueryMetric(pb.QueryMetricRequest(name="a_ms", step=Duration(seconds=3600)))).total.count == 5
        overview = await lab.overview(start=NOON - timedelta(minutes=10))
        assert (len(overview.latencies), overview.latencies_left_out) == (0, 1)


async def test_metrics_are_listed_by_pages(lab: Lab) -> None:
    """By name, each once; a token of another query is refused."""
    for name in ("b", "a", "c"):
        await lab.stub.LogMetric(pb.LogMetricRequest(name=name, value=1))
    first = await lab.stub.ListMetrics(pb.ListMetricsRequest(page_size=2))
    second = await lab.stub.ListMetrics(pb.ListMetricsRequest(page_size=2, page_token=first.next_page_token))
    assert [metric.name for metric in [*first.metrics, *second.metrics]] == ["a", "b", "c"]
    assert not second.next_page_token
    assert first.metrics[0].series_count == 1
    call = lab.stub.ListEarnedBadges(pb.ListEarnedBadgesRequest(user_id="ada", page_token=first.next_page_token))
    assert (await refusal(call))[1] == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("cursor", [{"name": 7}, {"name": "\ud800"}, {"earned_us": "x"}, {"earned_us": 2**70}, {"badge_id": [1]}])
async def test_a_forged_page_token_is_refused(lab: Lab, cursor: dict[str, object]) -> None:
    """A token is data from outside: what is in it may be anything."""
    if "name" in cursor:
        metrics = pb.ListMetricsRequest()
        metrics.page_token = page.encode_token(cursor, page.fingerprint(metrics))
        call = lab.stub.ListMetrics(metrics)
    else:
        badges = pb.ListEarnedBadgesRequest(user_id="ada")
        badges.page_token = page.encode_token(cursor, page.fingerprint(badges))
        call = lab.stub.ListEarnedBadges(badges)
    assert (await refusal(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_the_overview_counts_what_was_heard(lab: Lab) -> None:
    """Types, sources, rates and totals; the same before and after folding; the same event twice counts once."""
    for user in ("ada", "ada", "bob"):
        await lab.hear(completed(user))
    assert await lab.hear(completed(), event_id="0193f0a0-0000-7000-8000-000000000001")
    assert not await lab.hear(completed(), event_id="0193f0a0-0000-7000-8000-000000000001")
    await lab.hear(node(20), source="orchestration", at=NOON - timedelta(minutes=30))
    before = await lab.overview()
    await lab.upkeep.fold()
    assert await lab.overview() == before
    assert (before.event_count, before.active_users) == (5, 2)
    assert [(e.type, e.source, e.count, e.total_count) for e in before.events] == [
        ("training.completed", "learning", 4, 4),
        ("dag.node.completed", "orchestration", 1, 1),
    ]
    assert before.events[1].first_time.ToDatetime(UTC) == NOON - timedelta(minutes=30)
    assert [(rate.window.seconds, rate.count) for rate in before.rates] == [(60, 4), (300, 4), (900, 4), (3600, 5), (86400, 5)]
    assert before.rates[0].covered.seconds == 90
    assert before.rates[0].per_second == pytest.approx(4 / 90)


async def test_a_span_holds_only_its_own_events(lab: Lab) -> None:
    """What happened later is not in it, and totals still are since the beginning."""
    await lab.hear(completed())
    await lab.hear(completed(), at=NOON - timedelta(hours=3))
    old = await lab.overview(start=NOON - timedelta(hours=4), end=NOON - timedelta(hours=2))
    assert [(event.count, event.total_count) for event in old.events] == [(1, 2)]


@pytest.mark.parametrize(
    ("start", "end"),
    [(NOON, NOON), (NOON + timedelta(hours=1), None), (NOON, NOON - timedelta(1)), (NOON - timedelta(days=32), None)],
)
async def test_a_span_that_is_none_is_refused(lab: Lab, start: datetime, end: datetime | None) -> None:
    """Empty, turned round, in the future, or too long."""
    call = lab.stub.GetAnalyticsOverview(spanned(pb.GetAnalyticsOverviewRequest(), start, end))
    assert (await refusal(call))[2]["fields"] == "from"


async def test_latencies_come_from_events_metrics_and_the_bus(lab: Lab) -> None:
    """Quantiles keep to the error bound that the answer states."""
    for milliseconds in range(1, 201):
        await lab.hear(node(milliseconds), source="orchestration", at=NOON - timedelta(milliseconds=10))
    await lab.stub.LogMetric(pb.LogMetricRequest(name="page_load_ms", value=1500))
    await lab.stub.LogMetric(pb.LogMetricRequest(name="visitors", value=7))
    await lab.stub.LogMetric(pb.LogMetricRequest(name="age_seconds", value=1e18))
    overview = await lab.overview()
    found = {latency.name: latency for latency in overview.latencies}
    assert found.keys() == {"dag.node.completed", "orchestration", "page_load_ms", "age_seconds"}
    origins = overview_pb2.LatencyOrigin
    assert found["orchestration"].origin == origins.LATENCY_ORIGIN_BUS
    assert found["orchestration"].max == Duration(nanos=10_000_000)
    assert found["page_load_ms"].origin == origins.LATENCY_ORIGIN_METRIC
    assert found["page_load_ms"].max == Duration(seconds=1, nanos=500_000_000)
    node_latency = found["dag.node.completed"]
    assert node_latency.count == 200
    exact = {0.5: 0.1, 0.9: 0.18, 0.95: 0.19, 0.99: 0.198}
    for quantile in node_latency.quantiles:
        assert quantile.value.ToNanoseconds() / 1e9 == pytest.approx(exact[quantile.quantile], rel=overview.error_bound)


async def test_an_event_from_the_future_counts_as_now(lab: Lab) -> None:
    """A clock that runs ahead somewhere fills no later bucket and gives no negative delay."""
    await lab.hear(completed(), at=NOON + timedelta(days=300))
    overview = await lab.overview()
    assert overview.events[0].last_time.ToDatetime(UTC) == NOON
    assert overview.latencies[0].max == Duration()


async def test_old_minutes_become_hours_and_counts_stay(lab: Lab) -> None:
    """After the minutes are forgotten the hours still hold every event and value; at the end they go too, but not the totals."""
    for minute in range(50):
        await lab.hear(node(minute), source="orchestration", at=NOON - timedelta(minutes=minute))
        await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=minute, time=stamp(NOON - timedelta(minutes=minute))))
    await lab.upkeep.fold()
    lab.clock.advance(timedelta(days=3))
    await lab.upkeep.forget()
    overview = await lab.overview(start=NOON - timedelta(hours=2), end=NOON)
    assert getattr(overview, "from").ToDatetime(UTC).minute == 0
    assert overview.event_count == 50
    query = spanned(pb.QueryMetricRequest(name="a"), NOON - timedelta(hours=2), NOON)
    answer = await lab.stub.QueryMetric(query)
    assert (answer.step.seconds, answer.total.count, answer.total.max) == (3600, 50, 49)
    lab.clock.advance(timedelta(days=401))
    await lab.upkeep.forget()
    assert (await refusal(lab.stub.QueryMetric(pb.QueryMetricRequest(name="a"))))[0] == grpc.StatusCode.NOT_FOUND
    await lab.hear(node(1), source="orchestration")
    assert (await lab.overview()).events[0].total_count == 51


async def test_a_metric_logged_event_is_no_metric_again(lab: Lab) -> None:
    """Analytics hears what it tells: it counts the event and tells nothing more, so nothing feeds itself."""
    await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1))
    (told,) = await lab.bench.told()
    await lab.bench.hear_event(told)
    await lab.upkeep.fold()
    assert len(await lab.bench.told()) == 1
    assert (await lab.stub.QueryMetric(pb.QueryMetricRequest(name="a"))).total.count == 1
    assert [(event.type, event.count) for event in (await lab.overview()).events] == [("metric.logged", 1)]


def score_of(overview: pb.GetAnalyticsOverviewResponse, service: str) -> health_pb2.ServiceScore:
    """A service's score in an overview."""
    return next(score for score in overview.services if score.service == service)


async def test_a_service_without_enough_samples_has_no_score(lab: Lab) -> None:
    """Never 1.0 from three events; the parts say what is missing."""
    for _ in range(3):
        await lab.hear(node(5), source="orchestration")
    score = score_of(await lab.overview(), "orchestration")
    assert score.band == health_pb2.HEALTH_BAND_NOT_ENOUGH_DATA
    assert not score.HasField("score")
    errors = score.parts[1]
    assert (errors.aspect, errors.samples, errors.samples_needed) == (health_pb2.HEALTH_ASPECT_ERRORS, 3, 20)
    assert not errors.HasField("score")
    assert (errors.weight, errors.detail) == (0.3, "0 of 3 failed")
    await lab.upkeep.look()
    assert not await lab.told("health.changed")


async def test_health_is_told_once_per_change(lab: Lab) -> None:
    """Healthy once, then unhealthy once when its process falls, healthy again when it is back; a restart tells nothing anew."""
    await lab.hear(system_events_pb2.ServiceStarted(service="orchestration", process="orchestration-0"), source="system")
    lab.clock.advance(timedelta(minutes=2))
    for _ in range(40):
        await lab.hear(node(5), source="orchestration")
    for _ in range(3):
        await lab.upkeep.look()
    assert score_of(await lab.overview(), "orchestration").score == pytest.approx(1)
    await lab.bench.restart()
    await lab.upkeep.look()
    await lab.hear(
        system_events_pb2.ServiceUnhealthy(service="orchestration", process="orchestration-0", detail="signal 9"), source="system"
    )
    lab.clock.advance(timedelta(seconds=1))
    for _ in range(3):
        await lab.upkeep.look()
    score = score_of(await lab.overview(), "orchestration")
    assert (score.down, score.score, score.band) == (True, 0, health_pb2.HEALTH_BAND_UNHEALTHY)
    await lab.hear(system_events_pb2.ServiceStarted(service="orchestration", process="orchestration-0"), source="system")
    lab.clock.advance(timedelta(seconds=1))
    for _ in range(3):
        await lab.upkeep.look()
    told = await lab.told("health.changed")
    bands = health_pb2.HealthBand
    assert [(one.previous_band, one.band) for one in told] == [
        (bands.HEALTH_BAND_NOT_ENOUGH_DATA, bands.HEALTH_BAND_HEALTHY),
        (bands.HEALTH_BAND_HEALTHY, bands.HEALTH_BAND_UNHEALTHY),
        (bands.HEALTH_BAND_UNHEALTHY, bands.HEALTH_BAND_HEALTHY),
    ]
    assert {one.service for one in told} == {"orchestration"}
    assert len(told[0].parts) == 4


async def test_failures_pull_the_score_down(lab: Lab) -> None:
    """Half of the nodes fail: the errors part says so and the service is degraded."""
    for _ in range(30):
        await lab.hear(node(5), source="orchestration")
        await lab.hear(orchestration_events_pb2.DagNodeFailed(), source="orchestration")
    score = score_of(await lab.overview(), "orchestration")
    assert score.parts[1].score == 0.5
    assert score.parts[1].detail == "30 of 60 failed"
    assert score.band == health_pb2.HEALTH_BAND_DEGRADED


async def test_a_badge_is_earned_once_and_told_once(lab: Lab) -> None:
    """Ten trainings in three domains: first steps at the first, explorer at the third domain, none twice."""
    for index in range(10):
        await lab.hear(completed(domain=["python", "sql", "python", "math"][index % 4]))
        lab.clock.advance(timedelta(seconds=1))
    told = await lab.told("badge.earned")
    assert [(one.user_id, one.badge_id) for one in told] == [("ada", "first-training"), ("ada", "explorer")]
    request = pb.ListEarnedBadgesRequest(user_id="ada", page_size=1)
    first = await lab.stub.ListEarnedBadges(request)
    request.page_token = first.next_page_token
    second = await lab.stub.ListEarnedBadges(request)
    assert [badge.badge_id for badge in [*first.badges, *second.badges]] == ["first-training", "explorer"]
    assert second.badges[0].earn_time.ToDatetime(UTC) == NOON + timedelta(seconds=3)
    assert second.badges[0].event_id == told[1].event_id
    assert not second.next_page_token
    assert not (await lab.stub.ListEarnedBadges(pb.ListEarnedBadgesRequest(user_id="bob"))).badges


async def test_the_same_event_twice_counts_once_for_a_badge(lab: Lab) -> None:
    """Delivered at least once, applied once."""
    feedback = learning_events_pb2.CoachFeedbackGiven(user_id="ada", score=1)
    for _ in range(3):
        await lab.hear(feedback, event_id="0193f0a0-0000-7000-8000-000000000002")
    rules = {rule.badge_id: rule for rule in (await lab.stub.ListBadgeRules(pb.ListBadgeRulesRequest(user_id="ada"))).rules}
    assert rules["ten-rounds"].progress.value == 1
    assert rules["ten-rounds"].progress.fraction == pytest.approx(0.1)


async def test_a_streak_of_seven_days_survives_restarts_and_late_events(lab: Lab) -> None:
    """The days come out of order, one of them late, the service restarts in between."""
    feedback = learning_events_pb2.CoachFeedbackGiven(user_id="ada", score=1)
    for day in (6, 0, 1, 2, 5, 4):
        await lab.hear(feedback, at=NOON - timedelta(days=day))
        await lab.bench.restart()
    assert "week-streak" not in [badge.badge_id for badge in await lab.told("badge.earned")]
    await lab.hear(feedback, at=NOON - timedelta(days=3))
    assert [badge.badge_id for badge in await lab.told("badge.earned")] == ["week-streak"]


async def test_mastery_shows_in_progress_and_earns_a_badge(lab: Lab) -> None:
    """What learning told last of a skill stands, older news that comes late does not undo it."""

    def changed(level: float) -> learning_events_pb2.MasteryChanged:
        after = mastery_pb2.Mastery(level=level, level_low=level - 0.2)
        return learning_events_pb2.MasteryChanged(user_id="ada", domain="python", skill="loops", after=after)

    await lab.hear(changed(0.85))
    await lab.hear(changed(0.6), at=NOON - timedelta(hours=1))
    answer = await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada"))
    (mastery,) = answer.masteries
    assert (mastery.domain, mastery.skill, mastery.level) == ("python", "loops", 0.85)
    assert (answer.event_count, answer.active_days, answer.badge_count) == (2, 1, 1)
    assert (await lab.told("badge.earned"))[0].badge_id == "skilled"
    await lab.upkeep.fold()
    assert await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada")) == answer
    nobody = await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="bob"))
    assert nobody == pb.GetUserProgressResponse(user_id="bob")


async def test_a_mastery_that_is_no_number_changes_nothing(lab: Lab) -> None:
    """What anyone may publish must not stop those who hear it."""
    after = mastery_pb2.Mastery(level=float("nan"), level_low=float("inf"))
    await lab.hear(learning_events_pb2.MasteryChanged(user_id="ada", domain="python", skill="loops", after=after))
    answer = await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada"))
    assert (list(answer.masteries), answer.event_count) == ([], 1)


async def test_rules_are_listed_and_none_of_the_shipped_ones_is_broken(lab: Lab) -> None:
    """Every shipped rule reads types and fields that the contracts have."""
    answer = await lab.stub.ListBadgeRules(pb.ListBadgeRulesRequest())
    assert {rule.problem for rule in answer.rules} == {""}
    flawless = next(rule for rule in answer.rules if rule.badge_id == "flawless")
    assert list(flawless.conditions) == ["mean_score >= 0.95", "round_count >= 3"]
    assert flawless.kind == badge_pb2.BADGE_RULE_KIND_COUNT
    assert not flawless.HasField("progress")


async def test_own_rules_may_use_any_event_and_broken_ones_say_so(tmp_path: Path) -> None:
    """Rules are data: another file, events of other services, a user in another field, the hour of the envelope."""
    rules = tmp_path / "badges.toml"
    rules.write_text(
        '[[badge]]\nid="early"\nname="Early"\ndescription="D"\nkind="count"\nevents=["service.started"]\nuser_field="process"\n'
        'where=[{field="event.hour", op="==", value=12}, {field="restarts", op=">", value=0}]\ntarget=2\n'
        '[[badge]]\nid="typo"\nname="T"\ndescription="D"\nkind="count"\nevents=["service.begun"]\ntarget=1\n'
        '[[badge]]\nid="field"\nname="F"\ndescription="D"\nkind="max"\nevents=["service.started"]\nuser_field="process"\nfield="pid.x"\ntarget=1\n',
        encoding="utf-8",
    )
    clock = ManualClock(NOON)
    settings = {**QUIET, "TOOLOO_ANALYTICS_BADGES_FILE": str(rules)}
    async with testing.running("analytics", build, tmp_path, clock=clock, settings=settings) as bench:
        lab = Lab(bench, clock)
        for restarts in (0, 1, 2):
            await lab.hear(system_events_pb2.ServiceStarted(service="s", process="p", restarts=restarts), source="system")
        assert [(one.user_id, one.badge_id) for one in await lab.told("badge.earned")] == [("p", "early")]
        problems = {rule.badge_id: rule.problem for rule in (await lab.stub.ListBadgeRules(pb.ListBadgeRulesRequest())).rules}
        assert problems == {
            "early": "",
            "typo": "the catalogue has no event type 'service.begun'",
            "field": "tooloo.system.v1.ServiceStarted has no field 'pid.x'",
        }


async def test_the_background_folds_by_itself(tmp_path: Path) -> None:
    """A short interval folds without being asked, and a new boot goes on with what waits."""
    async with testing.running("analytics", build, tmp_path, settings={**QUIET, "TOOLOO_ANALYTICS_FOLD_INTERVAL": "10ms"}) as bench:
        stub: Any = analytics_service_pb2_grpc.AnalyticsServiceStub(bench.channel)
        await stub.LogMetric(pb.LogMetricRequest(name="a", value=1))

        async def waiting() -> int:
            rows = await bench.host.db.read(lambda tx: tx.fetch_all("SELECT seq FROM metric_sample"))
            return len(rows)

        async with asyncio.timeout(30):
            while await waiting():
                pass
        assert (await stub.QueryMetric(pb.QueryMetricRequest(name="a"))).total.count == 1


def _answered(model: str = "big", seconds: float = 2.0, first: float | None = 0.5) -> ProviderQueryCompleted:
    message = ProviderQueryCompleted(query_id="q", provider_id="acme", model=model, user_id="ada")
    message.cost.currency_code, message.cost.nanos = "USD", 81_000
    message.latency.FromTimedelta(timedelta(seconds=seconds))
    if first is not None:
        message.first_token_latency.FromTimedelta(timedelta(seconds=first))
    return message


def _unanswered(failure: FailureKind.ValueType) -> ProviderQueryFailed:
    message = ProviderQueryFailed(query_id="q", provider_id="acme", model="big", failure=failure)
    message.cost.currency_code, message.cost.nanos = "USD", 1_000
    message.latency.FromTimedelta(timedelta(seconds=60))
    return message


async def test_answers_of_models_are_metrics(lab: Lab) -> None:
    """How long, for how much and how well each model answers, by provider and model; also after folding."""
    await lab.hear(_answered(), source="provider")
    await lab.hear(_answered(seconds=4.0, first=None), source="provider")
    await lab.hear(_unanswered(FailureKind.FAILURE_KIND_BROKEN_STREAM), source="provider")
    await lab.hear(_unanswered(FailureKind.FAILURE_KIND_CANCELLED), source="provider")
    for _ in range(2):
        for name, count, mean in (
            ("tooloo.query.latency_seconds", 2, 3.0),
            ("tooloo.query.first_token_seconds", 1, 0.5),
            ("tooloo.query.cost_usd", 4, (2 * 81_000 + 2 * 1_000) / 4e9),
            ("tooloo.query.answered", 3, 2 / 3),
        ):
            answer = await lab.stub.QueryMetric(pb.QueryMetricRequest(name=name, match=["provider=acme", "model=big"]))
            assert (answer.total.count, answer.series_count) == (count, 1), name
            assert answer.total.mean == pytest.approx(mean), name
        await lab.upkeep.fold()
    overview = await lab.overview()
    assert "tooloo.query.latency_seconds" in {latency.name for latency in overview.latencies}


async def test_slow_models_do_not_make_their_service_slow(lab: Lab) -> None:
    """What a model takes is no duration of the service that asked it, by whose durations its health is judged."""
    for _ in range(30):
        await lab.hear(_answered(seconds=60), source="provider")
    rows = await lab.bench.host.db.read(
        lambda tx: tx.fetch_all("SELECT duration_us FROM heard_event WHERE duration_us IS NOT NULL")
    )
    assert not rows


async def test_models_beyond_the_limit_are_not_counted(lab: Lab) -> None:
    """Anyone may publish an event, so their labels are bounded as those of logged values are; the event itself is heard."""
    for number in range(5):
        assert await lab.hear(_answered(f"model-{number}"), source="provider")
    await lab.hear(_answered("\n"), source="provider")
    listed = (await lab.stub.ListMetrics(pb.ListMetricsRequest())).metrics
    assert sum(metric.series_count for metric in listed) <= 4
