"""Analytics: values that are logged and events that are heard; its aggregates are what the log of the bus says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from tooloo.learning.v1.learning_events_pb2 import TrainingCompleted

from mesh.outbox import Fact
from tests.robustness.matrix.scenario import Scenario

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceAsyncStub


_METRIC = "matrix"
_USER = "ada"


class Work(Scenario):
    """Callers who log values, and a learner who completes sessions."""

    logged = 0

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """Folds and looks often."""
        return {f"TOOLOO_ANALYTICS_{name}_INTERVAL": "50ms" for name in ("FOLD", "FORGET", "HEALTH")}

    async def work(self, number: int) -> None:
        """A value."""
        request = pb.LogMetricRequest(name=_METRIC, value=number, request_id=self.request_id())
        await self.stand.caller.call(self._stub.LogMetric, request)
        self.logged += 1

    def fact(self, number: int) -> tuple[str, Fact]:
        """A session was completed."""
        message = TrainingCompleted(user_id=_USER, session_id=str(number), focus_area="python", domain="python", round_count=1)
        return "learning", Fact(message, f"users/{_USER}/sessions/{number}", {"user": _USER})

    async def read(self) -> None:
        """An overview."""
        await self._stub.GetAnalyticsOverview(pb.GetAnalyticsOverviewRequest(), timeout=60)

    async def ticks(self) -> int:
        """Events that are folded into buckets."""
        ((folded,),) = self.stand.rows("SELECT coalesce(sum(event_count), 0) FROM event_bucket")
        return int(folded)

    async def broken(self) -> str:
        """Values, events by type since the beginning, and a user's, count what happened."""
        ((values,),) = self.stand.rows(
            "SELECT coalesce(sum(value_count), 0) FROM metric_bucket JOIN series USING (series_id)"
            " WHERE name = 'matrix' AND width_us = 3600000000"
        )
        if values != self.logged:
            return f"{values} values, not {self.logged}"
        happened = Counter(event.type for event in await self.stand.told())
        counted = Counter(dict(self.stand.rows("SELECT type, sum(event_count) FROM event_total GROUP BY type")))
        if counted != happened:
            return f"counted {counted}, happened {happened}"
        request = pb.GetUserProgressRequest(user_id=_USER)
        shown = (await self._stub.GetUserProgress(request, timeout=60, wait_for_ready=True)).event_count
        own = sum(event.attributes.get("user") == _USER for event in await self.stand.told())
        return "" if shown == own else f"{shown} events of {_USER}, not {own}"

    @property
    def _stub(self) -> AnalyticsServiceAsyncStub:
        return AnalyticsServiceStub(self.stand.caller.channel)
