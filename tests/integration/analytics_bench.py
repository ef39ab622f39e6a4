"""The analytics service over real gRPC and a real file, on a clock that tests move; it folds and forgets when they say so."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from tooloo.analytics.v1 import analytics_events_pb2, analytics_service_pb2_grpc
from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.learning.v1 import learning_events_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2

from mesh import testing
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
