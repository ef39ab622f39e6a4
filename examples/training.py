"""A whole training by generated stubs, and what the mesh made of it: `python examples/training.py [127.0.0.1:3000]`."""

import sys

import grpc
from tooloo.analytics.v1 import analytics_service_pb2 as analytics
from tooloo.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from tooloo.learning.v1 import learning_service_pb2 as learning
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub

USER = "grace"


def train(stub: LearningServiceStub) -> None:
    """Three rounds, each answered a little better than the one before."""
    started = stub.StartTraining(learning.StartTrainingRequest(user_id=USER, focus_area="algorithms", round_count=3))
    round_id, prompt = started.round_id, started.round.prompt
    for score in (0.5, 0.8, 1.0):
        print(f"{prompt}\n  score {score}")
        answer = stub.GiveCoachFeedback(
            learning.GiveCoachFeedbackRequest(user_id=USER, session_id=started.session_id, round_id=round_id, score=score)
        )
        round_id, prompt = answer.next_round_id, answer.next_round.prompt
    overview = stub.GetTrainingOverview(learning.GetTrainingOverviewRequest(user_id=USER))
    for domain in overview.mastery_by_domain:
        mastery = domain.mastery
        print(f"mastery of {domain.domain}: {mastery.level:.2f} ({mastery.level_low:.2f} to {mastery.level_high:.2f})")


def main(target: str) -> None:
    """Trains, then asks analytics for the rules of badges and how near they are."""
    with grpc.insecure_channel(target) as channel:
        train(LearningServiceStub(channel))
        rules = AnalyticsServiceStub(channel).ListBadgeRules(analytics.ListBadgeRulesRequest(user_id=USER))
        for rule in rules.rules:
            print(f"{rule.name}: {rule.progress.value:g} of {rule.target:g}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:3000")
