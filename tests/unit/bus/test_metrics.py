"""The figures of the bus as Prometheus reads them."""

from datetime import timedelta

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tooloo.bus.v1.bus_service_pb2 import GetBusStatsResponse, PublishResponse
from tooloo.bus.v1.subscription_pb2 import Subscription

from bus import metrics

FIGURES = {
    "first_position": 3,
    "head_position": 2**60,
    "size_bytes": 4096,
    "published_events": 10,
    "duplicates": 2,
    "removed_events": 1,
    "commits": 5,
    "remembered_ids": 7,
    "followers": 4,
}


def read(text: bytes) -> dict[str, Metric]:
    """The families by name, read by Prometheus' own parser."""
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """One sample's value; a counter's family has no _total in its name."""
    samples = families[name.removesuffix("_total")].samples
    (found,) = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
    return float(found)


def test_every_figure_of_the_log_is_told() -> None:
    """Under a name of its unit, counters ending in _total; an empty bus has no samples of subscriptions, and that is valid too."""
    stats = GetBusStatsResponse(**FIGURES, way="sqlite", durability=PublishResponse.DURABILITY_FSYNC, disk_full=True)  # type: ignore[arg-type]  # all of them numbers
    stats.commit_time.FromTimedelta(timedelta(microseconds=250))
    families = read(metrics.exposition(stats, 6, {}))
    expected = {
        "tooloo_bus_first_position": 3,
        "tooloo_bus_head_position": 2**60,
        "tooloo_bus_size_bytes": 4096,
        "tooloo_bus_published_events_total": 10,
        "tooloo_bus_duplicate_events_total": 2,
        "tooloo_bus_removed_events_total": 1,
        "tooloo_bus_commits_total": 5,
        "tooloo_bus_commit_duration_seconds": 0.00025,
        "tooloo_bus_remembered_ids": 7,
        "tooloo_bus_disk_full": 1,
        "tooloo_bus_followers": 4,
        "tooloo_bus_filter_failures_total": 6,
    }
    assert {name: value(families, name) for name in expected} == expected
    assert value(families, "tooloo_bus_info", way="sqlite", durability="DURABILITY_FSYNC") == 1
    assert all(family.documentation and family.type in {"counter", "gauge"} for family in families.values())
    assert families["tooloo_bus_commits"].type == "counter"


def test_every_subscription_has_its_own_samples() -> None:
    """Labelled with its name; whatever stands in a label comes back as it was."""
    odd = 'odd "name"\\\nhere'
    stats = GetBusStatsResponse()
    for name in ("reader", odd):
        one = stats.subscriptions.add(name=name, backlog=9, in_flight=2, dead_letters=1, members=3, state=Subscription.STATE_PAUSED)
        one.oldest_unacknowledged_age.FromTimedelta(timedelta(seconds=90, milliseconds=500))
    families = read(metrics.exposition(stats, 0, {"reader": 8}))
    figures = {"lag_events": 9, "oldest_unacknowledged_age_seconds": 90.5, "in_flight_events": 2, "dead_letters": 1, "members": 3}
    for name in ("reader", odd):
        for figure, expected in (figures | {"paused": 1}).items():
            assert value(families, f"tooloo_bus_subscription_{figure}", subscription=name) == expected
    assert value(families, "tooloo_bus_subscription_redelivered_events_total", subscription="reader") == 8
    assert value(families, "tooloo_bus_subscription_redelivered_events_total", subscription=odd) == 0
