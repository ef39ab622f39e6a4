"""Metrics of the analytics service: logged, read by steps and labels, folded, limited; every refusal, restarts and repeats."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.analytics.v1 import analytics_service_pb2_grpc

from mesh import errors, page, testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.analytics.__main__ import build
from services.analytics.flows.upkeep import Upkeep
from tests.integration.analytics_bench import NOON, QUIET, Lab, completed, lab, node, refusal, spanned, stamp

__all__ = ["lab"]


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


async def test_a_query_without_a_step_may_begin_where_the_minutes_do(lab: Lab) -> None:
    """The last two days, which are what minutes are kept for, at any time of the day: the step is ours to choose."""
    await lab.stub.LogMetric(pb.LogMetricRequest(name="a", value=1))
    for _ in range(24):
        lab.clock.advance(timedelta(minutes=10))
        now = lab.clock.now()
        answer = await lab.stub.QueryMetric(spanned(pb.QueryMetricRequest(name="a"), now - timedelta(days=2), now))
        assert answer.total.count == 1


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


async def test_the_background_folds_by_itself(tmp_path: Path) -> None:
    """A short interval folds without being asked, and a new boot goes on with what waits."""
    async with testing.running("analytics", build, tmp_path, settings={**QUIET, "TOOLOO_ANALYTICS_FOLD_INTERVAL": "10ms"}) as bench:
        stub: Any = analytics_service_pb2_grpc.AnalyticsServiceStub(bench.channel)
        await stub.LogMetric(pb.LogMetricRequest(name="a", value=1))

        async def waiting() -> int:
            rows = await bench.host.db.read(lambda tx: tx.fetch_all("SELECT seq FROM metric_sample"))
            return len(rows)

        async with asyncio.timeout(60):
            while await waiting():
                pass
        assert (await stub.QueryMetric(pb.QueryMetricRequest(name="a"))).total.count == 1


async def test_the_upkeep_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding, forgetting and looking go on once there is room; the service does not end over them."""
    steps: dict[str, int] = dict.fromkeys(("fold", "forget", "look"), 0)

    def at_first_full(name: str) -> Any:
        work = getattr(Upkeep, name)

        async def step(upkeep: Upkeep) -> Any:
            steps[name] += 1
            if steps[name] <= 2:
                raise errors.exhausted("disk", "the disk is full; make room")
            return await work(upkeep)

        return step

    for name in steps:
        monkeypatch.setattr(Upkeep, name, at_first_full(name))
    settings = {f"TOOLOO_ANALYTICS_{name}_INTERVAL": "10ms" for name in ("FOLD", "FORGET", "HEALTH")}
    async with testing.running("analytics", build, tmp_path, clock=ManualClock(NOON), settings=settings), asyncio.timeout(60):
        while min(steps.values()) < 4:  # noqa: ASYNC110 - the background has no event to wait for
            await asyncio.sleep(0.005)
