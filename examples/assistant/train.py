"""Train on what went wrong: `python -m examples.assistant.train USER TOPIC SCORE...`, a score from 0 to 1 for each round."""

import sys
from collections.abc import Callable

import grpc
from google.protobuf.duration_pb2 import Duration
from tooloo.learning.v1.learning_service_pb2 import GiveCoachFeedbackRequest, ListDueCardsRequest, StartTrainingRequest
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub
from tooloo.learning.v1.training_pb2 import Round

from examples.assistant.door import once, open_door

AN_HOUR = Duration(seconds=3600)


def train(door: grpc.Channel, user: str, topic: str, rounds: int, score: Callable[[Round], float]) -> None:
    """A session: each round is asked and scored; what was wrong comes back soon, what was right after days."""
    learning = LearningServiceStub(door)
    session = learning.StartTraining(StartTrainingRequest(request_id=once(), user_id=user, focus_area=topic, round_count=rounds))
    current = session.round
    while current.round_id:
        print(f"Round {current.number}: {current.prompt}")
        request = GiveCoachFeedbackRequest(
            request_id=once(),
            user_id=user,
            session_id=session.session_id,
            round_id=current.round_id,
            score=score(current),
        )
        answer = learning.GiveCoachFeedback(request)
        print(f"  mastery of {current.skill}: {answer.mastery_before.level:.2f} -> {answer.mastery.level:.2f}")
        current = answer.next_round


def soon_again(door: grpc.Channel, user: str) -> list[str]:
    """The exercises that come back within the hour, because they went wrong."""
    due = LearningServiceStub(door).ListDueCards(ListDueCardsRequest(user_id=user, within=AN_HOUR))
    return [card.prompt for card in due.cards]


if __name__ == "__main__":
    scores = [float(score) for score in sys.argv[3:]]
    with open_door() as channel:
        train(channel, sys.argv[1], sys.argv[2], len(scores), lambda current: scores[current.number - 1])
        for prompt in soon_again(channel, sys.argv[1]):
            print("Soon again:", prompt)
