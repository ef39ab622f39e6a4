"""What analytics makes of the events that it hears: counts of a span, latencies, health told once a change, answers of models."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.analytics.v1 import health_pb2, overview_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2
from tooloo.provider.v1.health_pb2 import FailureKind
from tooloo.provider.v1.provider_events_pb2 import ProviderQueryCompleted, ProviderQueryFailed
from tooloo.system.v1 import system_events_pb2

from tests.integration.analytics_bench import NOON, Lab, completed, lab, node, refusal, spanned

__all__ = ["lab"]


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


async def test_rates_of_what_is_long_past_count_its_hours(lab: Lab) -> None:
    """Where only hours are kept, a rate covers the full hours around its window and says so."""
    for minute in range(60):
        await lab.hear(completed(), at=NOON - timedelta(hours=1, minutes=minute))
    await lab.upkeep.fold()
    lab.clock.advance(timedelta(days=3))
    await lab.upkeep.forget()
    old = await lab.overview(start=NOON - timedelta(hours=3), end=NOON - timedelta(hours=1))
    assert old.event_count == 60
    assert [(rate.window.seconds, rate.covered.seconds, rate.count) for rate in old.rates] == [
        *((width, 3600, 1) for width in (60, 300, 900)),
        (3600, 3600, 1),
        (86400, 86400, 60),
    ]


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


async def test_a_process_is_not_down_again_when_a_clock_that_was_set_back_catches_up(lab: Lab) -> None:
    """It fell, the clock went back an hour, it was started: at the time of its fall by the new clock it is still up."""
    service, process = "orchestration", "orchestration-0"
    await lab.hear(system_events_pb2.ServiceUnhealthy(service=service, process=process), source="system")
    lab.clock.advance(timedelta(hours=-1))
    await lab.hear(system_events_pb2.ServiceStarted(service=service, process=process), source="system")
    lab.clock.advance(timedelta(minutes=61))
    assert not score_of(await lab.overview(), "orchestration").down


async def test_what_a_killed_manager_ran_does_not_hide_that_a_service_is_down(lab: Lab) -> None:
    """Restarted as learning-1, then the machine lost its power: nobody told the end of learning-1, and learning-0 falls now."""
    started, stopped = system_events_pb2.ServiceStarted, system_events_pb2.ServiceStopped
    for message in (
        started(service="learning", process="learning-0"),
        started(service="learning", process="learning-1"),
        stopped(service="learning", process="learning-0"),
        started(service="learning", process="learning-0"),
        system_events_pb2.ServiceUnhealthy(service="learning", process="learning-0", detail="signal 9"),
    ):
        await lab.hear(message, source="system")
        lab.clock.advance(timedelta(minutes=1))
    assert score_of(await lab.overview(), "learning").down


async def test_a_replica_that_answers_again_ends_no_other(lab: Lab) -> None:
    """One of two replicas was silent for a while: both are up, and one that falls leaves the service up."""
    for process, message in (
        ("learning-0", system_events_pb2.ServiceStarted),
        ("learning-1", system_events_pb2.ServiceStarted),
        ("learning-0", system_events_pb2.ServiceUnhealthy),
        ("learning-0", system_events_pb2.ServiceStarted),
        ("learning-0", system_events_pb2.ServiceUnhealthy),
    ):
        await lab.hear(message(service="learning", process=process), source="system")
        lab.clock.advance(timedelta(minutes=1))
    assert not score_of(await lab.overview(), "learning").down


async def test_failures_pull_the_score_down(lab: Lab) -> None:
    """Half of the nodes fail: the errors part says so and the service is degraded."""
    for _ in range(30):
        await lab.hear(node(5), source="orchestration")
        await lab.hear(orchestration_events_pb2.DagNodeFailed(), source="orchestration")
    score = score_of(await lab.overview(), "orchestration")
    assert score.parts[1].score == 0.5
    assert score.parts[1].detail == "30 of 60 failed"
    assert score.band == health_pb2.HEALTH_BAND_DEGRADED


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
