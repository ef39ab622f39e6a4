"""Metrics of a running bus: what stalls shows, and the door gives them as Prometheus wants them."""

from datetime import timedelta
from pathlib import Path

from google.protobuf import duration_pb2
from prometheus_client.parser import text_string_to_metric_families
from tooloo.bus.v1 import bus_service_pb2 as pb

from bus.__main__ import build
from mesh import testing
from mesh.clock import ManualClock
from tests.integration.bus_bench import FAST, BusBench, Puller, event
from tests.integration.bus_door import bus_door
from tests.integration.test_bus_subscriptions import dead_letters

LONG = duration_pb2.Duration(seconds=600)


async def figures(bus: BusBench) -> dict[str, float]:
    """Every sample by its name; there is one subscription at most."""
    body = await bus.stub.GetBusMetrics(pb.GetBusMetricsRequest())
    families = text_string_to_metric_families(body.data.decode())
    return {sample.name.removeprefix("tooloo_bus_"): sample.value for family in families for sample in family.samples}


async def test_a_stalled_consumer_shows(tmp_path: Path) -> None:
    """The age of the oldest unacknowledged event grows with the clock while nothing is acknowledged, and falls when it is."""
    clock = ManualClock()
    async with testing.running("bus", build, tmp_path, clock=clock, settings=FAST) as bench:
        bus = BusBench(bench)
        await bus.subscribe(ack_deadline=LONG)
        await bus.publish(event(1), event(2))
        puller = await Puller(bus.stub).open()
        await puller.take(2)
        clock.advance(timedelta(seconds=90))
        stalled = await figures(bus)
        assert stalled["subscription_oldest_unacknowledged_age_seconds"] == 90
        assert (stalled["subscription_lag_events"], stalled["subscription_in_flight_events"]) == (2, 2)
        assert (stalled["subscription_members"], stalled["head_position"], stalled["published_events_total"]) == (1, 2, 2)
        await puller.say(ack=[1, 2])
        await bus.settled(2)
        going = await figures(bus)
        assert going["subscription_oldest_unacknowledged_age_seconds"] == 0
        assert (going["subscription_lag_events"], going["subscription_in_flight_events"]) == (0, 0)


async def test_redeliveries_dead_letters_and_failed_filters_are_counted(tmp_path: Path) -> None:
    """Each where it happens; a repeated event counts as a duplicate."""
    async with testing.running("bus", build, tmp_path, settings=FAST) as bench:
        bus = BusBench(bench)
        await bus.subscribe(filter={"cel": "data.pid > 0"})
        again = event(1)
        await bus.publish(again, event(2, kind="stopped"))
        await bus.publish(again)
        puller = await Puller(bus.stub).open()
        await puller.take(1)
        await puller.say(nacks=[pb.Nack(position=1, retry_after=duration_pb2.Duration())])
        assert await puller.take(1) == [(1, 2)]
        await puller.say(nacks=[pb.Nack(position=1, park=True)])
        await dead_letters(bus, 2)
        found = await figures(bus)
        assert found["subscription_redelivered_events_total"] == 1
        assert found["subscription_dead_letters"] == 2
        assert (found["filter_failures_total"], found["duplicate_events_total"]) == (1, 1)


async def test_the_door_gives_them_as_text(tmp_path: Path) -> None:
    """With the content type that Prometheus asks for."""
    async with bus_door(tmp_path) as door:
        answer = await door.rest.get("/api/v1/events/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "tooloo_bus_head_position 0\n" in answer.text
