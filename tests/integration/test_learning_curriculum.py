"""A curriculum that is edited while learners train: what was begun goes on as it began."""

from pathlib import Path
from shutil import copytree

import pytest
from tooloo.learning.v1 import learning_service_pb2 as contract
from tooloo.learning.v1 import training_pb2

from mesh.settings import CHECKOUT
from tests.integration.learning_bench import DAY, learning

KUBERNETES = """
id = "kubernetes"
title = "Kubernetes"
aliases = ["k8s"]

[[skills]]
id = "pods"
title = "Pods"

[[skills.exercises]]
id = "explain"
difficulty = "easy"
prompt = "What is a pod?"
rubric = "Containers that share a network and a life."
"""


async def test_a_session_stays_in_its_domain_when_its_topic_gets_one(tmp_path: Path) -> None:
    """A topic that was trained in general becomes the alias of a new domain while a session about it is open."""
    folder = copytree(CHECKOUT / "services/learning/curriculum", tmp_path / "curriculum")
    async with learning(tmp_path / "data", curriculum_folder=str(folder)) as bench:
        started = await bench.start(focus="k8s", rounds=3)
        (folder / "kubernetes.toml").write_text(KUBERNETES)
        await bench.running.restart()
        answer = await bench.score(started.session_id, started.round_id, 0.2)
        assert answer.next_round.domain == answer.session.domain == "k8s"
        await bench.score(started.session_id, answer.next_round_id, 0.2)
        mastery = await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada"))
        assert {(skill.domain, skill.skill) for skill in mastery.skills} == {
            ("k8s", given.skill) for given in (started.round, answer.next_round)
        }
        assert all(skill.title != skill.skill for skill in mastery.skills)
        domain, *others = (await bench.overview()).mastery_by_domain
        assert (domain.domain, domain.title, others) == ("k8s", "k8s", [])
        assert (await bench.start(focus="k8s")).session.domain == "kubernetes"


async def test_cards_of_a_topic_are_asked_when_it_has_become_another_domains_alias(tmp_path: Path) -> None:
    """What was learned under the topic comes due in sessions of its new domain, and counts where it counted before."""
    folder = copytree(CHECKOUT / "services/learning/curriculum", tmp_path / "curriculum")
    async with learning(tmp_path / "data", curriculum_folder=str(folder)) as bench:
        learned = (await bench.play(1.0, focus="k8s")).card
        (folder / "kubernetes.toml").write_text(KUBERNETES)
        await bench.running.restart()
        bench.clock.advance(60 * DAY)
        started = await bench.start(focus="Kubernetes", rounds=1)
        assert (started.session.domain, started.round.domain, started.round.card_id) == ("kubernetes", "k8s", learned.card_id)
        assert started.round.reason == training_pb2.ROUND_REASON_DUE
        await bench.score(started.session_id, started.round_id, 1.0)
        assert (await bench.overview()).workload.due_now == 0
        mastery = await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada"))
        assert [(skill.domain, skill.skill, skill.reviews) for skill in mastery.skills] == [("k8s", learned.skill, 2)]


@pytest.mark.parametrize("topic", ["k8s", "kubernetes"])
async def test_reviews_of_a_topic_that_got_a_domain_go_in_again(tmp_path: Path, topic: str) -> None:
    """What is given out of the time before is taken, under the cards it was of."""
    folder = copytree(CHECKOUT / "services/learning/curriculum", tmp_path / "curriculum")
    async with learning(tmp_path / "data", curriculum_folder=str(folder)) as bench:
        await bench.play(1.0, 0.3, focus=topic)
        (folder / "kubernetes.toml").write_text(KUBERNETES)
        await bench.running.restart()
        log = (await bench.stub.ListReviews(contract.ListReviewsRequest(user_id="ada"))).reviews
        await bench.stub.ImportReviews(contract.ImportReviewsRequest(user_id="bob", reviews=log))
        assert (await bench.stub.ListReviews(contract.ListReviewsRequest(user_id="bob"))).reviews == log
        ada, bob = await bench.overview("ada"), await bench.overview("bob")
        assert ada.mastery_by_domain[0].skills_practised == bob.mastery_by_domain[0].skills_practised
