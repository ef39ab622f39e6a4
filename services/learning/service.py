"""gRPC in, domain call, gRPC out: which call is which transaction."""

from typing import Any

from tooloo.learning.v1 import learning_service_pb2 as contract
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceServicer

from mesh.host import Host
from services.learning.curriculum import Curriculum
from services.learning.flows.coach import Coach
from services.learning.flows.importing import Importer
from services.learning.flows.reader import Reader
from services.learning.flows.views import Views
from services.learning.settings import LearningSettings


class LearningService(LearningServiceServicer):
    """Answers tooloo.learning.v1.LearningService; each call is one transaction."""

    def __init__(self, host: Host, settings: LearningSettings, curriculum: Curriculum) -> None:
        self._host = host
        self._coach = Coach(host, settings, curriculum)
        self._reader = Reader(host, settings, curriculum)
        self._views = Views(host, settings)
        self._importer = Importer(host, curriculum, self._coach)

    async def StartTraining(self, request: contract.StartTrainingRequest, context: Any) -> contract.StartTrainingResponse:
        """Opens a session and its first round."""
        return await self._host.once(request, contract.StartTrainingResponse, lambda tx: self._coach.start(tx, request))

    async def GiveCoachFeedback(
        self, request: contract.GiveCoachFeedbackRequest, context: Any
    ) -> contract.GiveCoachFeedbackResponse:
        """Closes the open round; opens the next one or completes the session."""
        return await self._host.once(request, contract.GiveCoachFeedbackResponse, lambda tx: self._coach.feedback(tx, request))

    async def GetTrainingOverview(
        self, request: contract.GetTrainingOverviewRequest, context: Any
    ) -> contract.GetTrainingOverviewResponse:
        """Where a learner stands."""
        return await self._host.db.read(lambda tx: self._reader.overview(tx, request))

    async def GetSession(self, request: contract.GetSessionRequest, context: Any) -> contract.GetSessionResponse:
        """A session with its rounds."""
        return await self._host.db.read(lambda tx: self._reader.session(tx, request))

    async def ListDueCards(self, request: contract.ListDueCardsRequest, context: Any) -> contract.ListDueCardsResponse:
        """A page of due cards."""
        return await self._host.db.read(lambda tx: self._reader.due_cards(tx, request))

    async def ListMastery(self, request: contract.ListMasteryRequest, context: Any) -> contract.ListMasteryResponse:
        """A page of practised skills."""
        return await self._host.db.read(lambda tx: self._reader.mastery(tx, request))

    async def ForecastWorkload(self, request: contract.ForecastWorkloadRequest, context: Any) -> contract.ForecastWorkloadResponse:
        """Reviews to expect on each of the next days."""
        return await self._views.forecast(request)

    async def GetForgettingCurve(
        self, request: contract.GetForgettingCurveRequest, context: Any
    ) -> contract.GetForgettingCurveResponse:
        """How one card was and will be forgotten."""
        return await self._views.curve(request)

    async def ListLearners(self, request: contract.ListLearnersRequest, context: Any) -> contract.ListLearnersResponse:
        """A page of everybody who trains here."""
        return await self._host.db.read(lambda tx: self._views.learners(tx, request))

    async def ImportReviews(self, request: contract.ImportReviewsRequest, context: Any) -> contract.ImportReviewsResponse:
        """Takes over reviews from elsewhere."""
        return await self._host.once(request, contract.ImportReviewsResponse, lambda tx: self._importer.take(tx, request))

    async def ListReviews(self, request: contract.ListReviewsRequest, context: Any) -> contract.ListReviewsResponse:
        """A page of a learner's reviews, oldest first."""
        return await self._host.db.read(lambda tx: self._importer.log(tx, request))
