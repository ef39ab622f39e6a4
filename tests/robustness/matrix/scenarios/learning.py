"""Learning: sessions of two rounds; each review counts once, and each selection that is heard of too."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from tooloo.learning.v1 import learning_service_pb2 as pb
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub
from tooloo.provider.v1.provider_events_pb2 import ProviderSelected

from mesh.outbox import Fact
from tests.robustness.matrix.scenario import Scenario

_ROUNDS = 2
_HEARD_OF = "listener"


class Work(Scenario):
    """Learners who train, and a provider that is selected."""

    selected = 0

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """Needs nothing."""
        self.reviewed: dict[str, int] = {}
        return {}

    async def work(self, number: int) -> None:
        """A learner's whole session."""
        user, stub, call = f"learner-{number}", LearningServiceStub(self.stand.caller.channel), self.stand.caller.call
        begin = pb.StartTrainingRequest(user_id=user, focus_area="python", round_count=_ROUNDS, request_id=self.request_id())
        started = await call(stub.StartTraining, begin)
        round_id = started.round_id
        for _ in range(_ROUNDS):
            feedback = pb.GiveCoachFeedbackRequest(
                user_id=user, session_id=started.session_id, round_id=round_id, score=0.7, request_id=self.request_id()
            )
            round_id = (await call(stub.GiveCoachFeedback, feedback)).next_round_id
            self.reviewed[user] = self.reviewed.get(user, 0) + 1

    def fact(self, number: int) -> tuple[str, Fact]:
        """A provider was selected."""
        self.selected += 1
        message = ProviderSelected(
            selection_id=str(number), provider_id="acme", model="big", focus_area="python", user_id=_HEARD_OF
        )
        return "provider", Fact(message, f"selections/{number}")

    async def read(self) -> None:
        """An overview."""
        await self._overview(_HEARD_OF)

    async def ticks(self) -> int:
        """It has no loop but those of every service: what it has heard of."""
        return sum(use.selections for use in (await self._overview(_HEARD_OF)).providers_by_domain)

    async def broken(self) -> str:
        """Reviews by learner, and selections."""
        for user, reviews in self.reviewed.items():
            found = (await self._overview(user)).rounds_completed
            if found != reviews:
                return f"{user} has {found} reviews, not {reviews}"
        heard = await self.ticks()
        return "" if heard == self.selected else f"{heard} selections counted, not {self.selected}"

    async def _overview(self, user: str) -> pb.GetTrainingOverviewResponse:
        stub = LearningServiceStub(self.stand.caller.channel)
        return await stub.GetTrainingOverview(pb.GetTrainingOverviewRequest(user_id=user), timeout=60, wait_for_ready=True)
