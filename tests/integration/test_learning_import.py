"""Reviews from elsewhere: they leave the learner as if they had been made here, go out as they came in, and every refusal."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from tooloo.learning.v1 import card_pb2, learning_events_pb2
from tooloo.learning.v1 import learning_service_pb2 as contract

from tests.integration.learning_bench import DAY, START, Bench, learning


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The service with default settings."""
    async with learning(tmp_path) as running:
        yield running


def review(card: str, time: datetime, score: float) -> card_pb2.Review:
    """One review of a log."""
    made = card_pb2.Review(card_id=card, score=score)
    made.time.FromDatetime(time)
    return made


async def take(bench: Bench, *reviews: card_pb2.Review, user: str = "bob", request_id: str = "") -> contract.ImportReviewsResponse:
    """Imports."""
    return await bench.stub.ImportReviews(contract.ImportReviewsRequest(user_id=user, reviews=reviews, request_id=request_id))


async def exported(bench: Bench, user: str, page_size: int = 2) -> list[card_pb2.Review]:
    """The whole log, page by page."""
    found: list[card_pb2.Review] = []
    token = ""
    while True:
        answer = await bench.stub.ListReviews(contract.ListReviewsRequest(user_id=user, page_size=page_size, page_token=token))
        found += answer.reviews
        token = answer.next_page_token
        if not token:
            return found


async def test_an_imported_learner_is_as_one_who_trained_here(bench: Bench) -> None:
    """Ada trains for weeks; her log, exported and imported for Bob, gives him the same cards, mastery, streak and curve."""
    for scores in ((0.9, 0.3), (0.97, 0.6), (0.8, 1.0), (0.4, 0.7)):
        await bench.play(*scores)
        bench.clock.advance(3 * DAY)
    log = await exported(bench, "ada")
    assert len(log) == 8
    answer = await take(bench, *log)
    assert (answer.reviews, answer.cards) == (8, len({each.card_id for each in log}))
    assert [(session.domain, session.rounds_completed) for session in answer.sessions] == [("python", 8)]
    assert await exported(bench, "bob", page_size=3) == log
    ada, bob = await bench.overview("ada"), await bench.overview("bob")
    assert (bob.workload, bob.streak, bob.rounds_completed) == (ada.workload, ada.streak, 8)
    due = [
        (await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id=user, page_size=100))).cards for user in ("ada", "bob")
    ]
    assert due[0] == due[1]
    for card in {each.card_id for each in log}:
        curves = [
            await bench.stub.GetForgettingCurve(contract.GetForgettingCurveRequest(user_id=user, card_id=card))
            for user in ("ada", "bob")
        ]
        assert curves[0] == curves[1]


async def test_reviews_of_a_topic_with_dots_come_in_as_they_went_out(bench: Bench) -> None:
    """The dots of "Node.js" are no end of the domain's name."""
    await bench.play(0.9, 0.4, focus="Node.js")
    log = await exported(bench, "ada")
    answer = await take(bench, *log)
    assert [(session.domain, session.rounds_completed) for session in answer.sessions] == [("node.js", 2)]
    assert await exported(bench, "bob") == log


async def test_what_is_told_of_an_import(bench: Bench) -> None:
    """Each skill once, from before the first to after the last review; no round and no session."""
    reviews = [review("python.iteration.enumerate", START - (20 - days) * DAY, 0.9) for days in range(0, 20, 5)]
    request_id = str(uuid4())
    first = await take(bench, *reviews, request_id=request_id)
    assert await take(bench, *reviews, request_id=request_id) == first
    events = await bench.running.told()
    assert [event.type for event in events] == ["mastery.changed"]
    changed = learning_events_pb2.MasteryChanged()
    assert events[0].data.Unpack(changed)
    assert changed.before.level == 0.5
    assert changed.after.level > 0.6
    assert changed.session_id == first.sessions[0].session_id


async def test_training_goes_on_after_an_import(bench: Bench) -> None:
    """The next session asks for what is due by it; a later part of the log may follow."""
    await take(bench, review("python.iteration.enumerate", START - 30 * DAY, 0.9))
    started = await bench.start(user="bob", rounds=1)
    assert started.round.card_id == "python.iteration.enumerate"
    await take(bench, review("python.iteration.enumerate", START - DAY, 0.9))
    assert len(await exported(bench, "bob")) == 2


async def test_refusals(bench: Bench) -> None:
    """Unknown card, future, disorder, and what lies before the newest round; nothing is kept of what was refused."""
    known = "python.iteration.enumerate"
    refused = {
        "card": [review(known, START - DAY, 1), review("python.no.such", START, 1)],
        "future": [review(known, START + DAY, 1)],
        "order": [review(known, START, 1), review(known, START - DAY, 1)],
        "nothing": [],
    }
    for reviews in refused.values():
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await take(bench, *reviews)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert await exported(bench, "bob") == []
    await bench.play(0.9, user="bob")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await take(bench, review(known, START - DAY, 1))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
