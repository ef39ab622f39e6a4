"""The learning service through its real server and file, with short names for sessions and feedback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1 import learning_service_pb2 as contract
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub

from mesh import errors, testing
from mesh.clock import ManualClock
from services.learning.__main__ import build

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceAsyncStub

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Bench:
    """A running service with its clock and stub; the stub is made anew after a restart."""

    def __init__(self, running: testing.Bench, clock: ManualClock) -> None:
        self.running = running
        self.clock = clock

    @property
    def stub(self) -> LearningServiceAsyncStub:
        """The service's calls."""
        return LearningServiceStub(self.running.channel)

    async def start(self, user: str = "ada", focus: str = "python", rounds: int = 3) -> contract.StartTrainingResponse:
        """Starts a session."""
        request = contract.StartTrainingRequest(user_id=user, focus_area=focus, round_count=rounds)
        return await self.stub.StartTraining(request)

    async def score(
        self, session_id: str, round_id: str, score: float, user: str = "ada", request_id: str = ""
    ) -> contract.GiveCoachFeedbackResponse:
        """Gives feedback."""
        request = contract.GiveCoachFeedbackRequest(
            user_id=user, session_id=session_id, round_id=round_id, score=score, comment="well said", request_id=request_id
        )
        return await self.stub.GiveCoachFeedback(request)

    async def play(self, *scores: float, user: str = "ada", focus: str = "python") -> contract.GiveCoachFeedbackResponse:
        """A whole session with these scores; gives the last answer."""
        started = await self.start(user, focus, len(scores))
        round_id = started.round_id
        for score in scores:
            answer = await self.score(started.session_id, round_id, score, user)
            round_id = answer.next_round_id
        return answer

    async def overview(self, user: str = "ada", zone: str = "") -> contract.GetTrainingOverviewResponse:
        """The overview."""
        return await self.stub.GetTrainingOverview(contract.GetTrainingOverviewRequest(user_id=user, time_zone=zone))


@asynccontextmanager
async def learning(folder: Path, **settings: str) -> AsyncIterator[Bench]:
    """The service on fresh files, on 2026-11-22 at noon."""
    clock = ManualClock(START)
    env = {f"TOOLOO_LEARNING_{name.upper()}": value for name, value in settings.items()}
    async with testing.running("learning", build, folder, clock=clock, settings=env) as running:
        yield Bench(running, clock)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The service with default settings."""
    async with learning(tmp_path) as running:
        yield running


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of a refusal's ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    status = errors.from_rpc_error(error)
    assert status.details[0].Unpack(info)
    return str(info.reason)


def types_of(events: list[Event]) -> list[str]:
    """The types of events, in order."""
    return [event.type for event in events]
