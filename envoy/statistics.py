"""What Envoy counts of each call, and how that is read from its admin page: calls by service and outcome, how long they took.

An access logger that writes statistics sees every call once, when it ended: also one that Envoy itself gave up (a deadline, no
replica), which the statistics of clusters and of the grpc_stats filter leave out. A long stream stands apart from unary calls.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from envoy.filters import Config, named, typed

# names of the routes: what kind of call this is
UNARY, STREAM = "unary", "stream"
_CALLS, _TIME, _ACTIVE = "traffic.calls.", "traffic.time.", ".upstream_rq_active"
_NAMES = r"^(traffic\.(calls|time)\.|cluster\.[^.]+\.upstream_rq_active$)"
_QUERY = {"usedonly": "", "format": "json", "histogram_buckets": "detailed", "filter": _NAMES}
# asked before: Envoy then gathers the histograms of its threads, and the next question finds them gathered
GATHER = "/stats?" + urlencode({"usedonly": "", "filter": "^$"})
STATISTICS = "/stats?" + urlencode(_QUERY)

# buckets of a histogram: (lower bound, width) in microseconds -> how many
Buckets = Mapping[tuple[float, float], int]


@dataclass(frozen=True)
class Outcome:
    """How calls ended: the HTTP status, 0 when the caller left before, and the gRPC status of a native call, else -1."""

    kind: str
    http_status: int
    grpc_status: int


@dataclass
class Counted:
    """What Envoy counted for one service since it was started."""

    calls: Counter[Outcome] = field(default_factory=Counter)
    active: int = 0
    unary_times: Buckets = field(default_factory=dict)


def call_statistics() -> Config:
    """The access logger that counts. Its tags hold nothing that a caller could make up, so there are never many statistics."""
    service, kind = _tag("service", "%UPSTREAM_CLUSTER%"), _tag("kind", "%ROUTE_NAME%")
    # a native call has its status in the trailers, or in the headers when it was refused at once; of a REST call HTTP's says it
    outcome = [_tag("http", "%RESPONSE_CODE%"), _tag("grpc", "%RESP(GRPC-STATUS)%%TRAILER(GRPC-STATUS)%")]
    counter = {"stat": {"name": "calls", "tags": [service, kind, *outcome]}, "value_fixed": 1}
    histogram = {
        "stat": {"name": "time", "tags": [service, kind]},
        "value_format": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "unit": "Microseconds",
    }
    config = typed(
        "extensions.access_loggers.stats.v3.Config", stats_scope={"prefix": "traffic"}, counters=[counter], histograms=[histogram]
    )
    return named("envoy.access_loggers.stats", config)


def _tag(name: str, value: str) -> Config:
    return {"name": name, "value_format": value}


def read(answer: bytes) -> dict[str, Counted]:
    """What the admin page answered to STATISTICS, by service."""
    found: dict[str, Counted] = {}
    for stat in json.loads(answer)["stats"]:
        if "histograms" in stat:
            for histogram in stat["histograms"].get("details", ()):
                _read_times(histogram, found)
        else:
            _read_count(stat["name"], int(stat["value"]), found)
    return found


def _read_count(name: str, value: int, found: dict[str, Counted]) -> None:
    if name.endswith(_ACTIVE):
        service = name.removeprefix("cluster.").removesuffix(_ACTIVE)
        found.setdefault(service, Counted()).active = value
    elif name.startswith(_CALLS):
        tags = _tags(name.removeprefix(_CALLS))
        outcome = Outcome(tags["kind"], _number(tags["http"], 0), _number(tags["grpc"], -1))
        found.setdefault(tags["service"], Counted()).calls[outcome] += value


def _read_times(histogram: Mapping[str, Any], found: dict[str, Counted]) -> None:
    tags = _tags(histogram["name"].removeprefix(_TIME))
    if tags["kind"] == UNARY:
        buckets = {(each["lower_bound"], each["width"]): int(each["count"]) for each in histogram["totals"]}
        found.setdefault(tags["service"], Counted()).unary_times = buckets


def _tags(name: str) -> dict[str, str]:
    """The tags of a name such as "service.learning.kind.unary.http.200.grpc." as a dictionary; a value may be empty."""
    parts = name.split(".")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() else otherwise
