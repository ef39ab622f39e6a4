"""The bus's figures in the Prometheus text format: positions, commits, and every subscription's lag and stall.

https://prometheus.io/docs/instrumenting/exposition_formats/ — a writer of our own, for the client library's import takes 80 ms.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import duration_pb2
from tooloo.bus.v1.bus_service_pb2 import GetBusStatsResponse, PublishResponse
from tooloo.bus.v1.subscription_pb2 import Subscription

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "tooloo_bus_"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """One figure: its name without the bus's prefix, what it says, and a value for each set of labels."""

    name: str
    help: str
    samples: Sequence[tuple[Labels, float]]

    @property
    def kind(self) -> str:
        """The type: what only grows has a name that ends in _total."""
        return "counter" if self.name.endswith("_total") else "gauge"


def exposition(stats: GetBusStatsResponse, filter_failures: int, redeliveries: Mapping[str, int]) -> bytes:
    """All metrics as text; `redeliveries` is by name of subscription."""
    metrics = [*_of_the_log(stats, filter_failures), *_of_subscriptions(stats.subscriptions, redeliveries)]
    return "".join(line for metric in metrics for line in _lines(metric)).encode()


def _of_the_log(stats: GetBusStatsResponse, filter_failures: int) -> Iterator[Metric]:
    def single(name: str, text: str, value: float) -> Metric:
        return Metric(name, text, [({}, value)])

    labels = {"way": stats.way, "durability": PublishResponse.Durability.Name(stats.durability)}
    yield Metric("info", "What the log stands on, and how far an acknowledgement reaches; always 1.", [(labels, 1)])
    yield single("first_position", "Oldest position that is kept; 0 when the log is empty.", stats.first_position)
    yield single("head_position", "Newest position.", stats.head_position)
    yield single("size_bytes", "Bytes of the log's files.", stats.size_bytes)
    yield single("published_events_total", "Events stored since the start of the process.", stats.published_events)
    yield single("duplicate_events_total", "Repeated events that were not stored again.", stats.duplicates)
    yield single("removed_events_total", "Events erased or compacted away.", stats.removed_events)
    yield single("commits_total", "Commits since the start of the process.", stats.commits)
    yield single("commit_duration_seconds", "How long a commit takes now (moving average).", _seconds(stats.commit_time))
    yield single("remembered_ids", "Ids that are remembered to refuse repeats.", stats.remembered_ids)
    yield single("disk_full", "1 while publishes are refused because the disk is full.", stats.disk_full)
    yield single("followers", "Live followers.", stats.followers)
    yield single("filter_failures_total", "Events on which the expression of a filter failed.", filter_failures)


def _of_subscriptions(subscriptions: Sequence[Subscription], redeliveries: Mapping[str, int]) -> Iterator[Metric]:
    def each(name: str, text: str, values: Sequence[float]) -> Metric:
        labels = [{"subscription": one.name} for one in subscriptions]
        return Metric(f"subscription_{name}", text, list(zip(labels, values, strict=True)))

    ages = [_seconds(one.oldest_unacknowledged_age) for one in subscriptions]
    redelivered = [redeliveries.get(one.name, 0) for one in subscriptions]
    yield each("lag_events", "Events that are not yet acknowledged or dead (upper bound).", [one.backlog for one in subscriptions])
    yield each("oldest_unacknowledged_age_seconds", "Age of the oldest unacknowledged event: it grows while work stalls.", ages)
    yield each("in_flight_events", "Events that are out now.", [one.in_flight for one in subscriptions])
    yield each("dead_letters", "Dead letters that it keeps.", [one.dead_letters for one in subscriptions])
    yield each("redelivered_events_total", "Deliveries beyond an event's first.", redelivered)
    yield each("members", "Streams that pull it now.", [one.members for one in subscriptions])
    yield each("paused", "1 while it is paused.", [one.state == Subscription.STATE_PAUSED for one in subscriptions])


def _lines(metric: Metric) -> Iterator[str]:
    name = _PREFIX + metric.name
    yield f"# HELP {name} {metric.help}\n"
    yield f"# TYPE {name} {metric.kind}\n"
    for labels, value in metric.samples:
        written = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        yield f"{name}{{{written}}} {_number(value)}\n" if written else f"{name} {_number(value)}\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _seconds(length: duration_pb2.Duration) -> float:
    return length.seconds + length.nanos / 1e9
