"""Forecast of the workload, forgetting curves and the list of learners, through the real server and files."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.learning.v1 import card_pb2
from tooloo.learning.v1 import learning_service_pb2 as contract

from tests.integration.learning_bench import DAY, START, Bench, learning


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The service with default settings."""
    async with learning(tmp_path) as running:
        yield running


async def _code(call: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call  # type: ignore[misc] # a call of the stub
    return refused.value.code()


async def test_a_forecast_counts_what_is_due_and_what_comes_back(bench: Bench) -> None:
    """What is overdue counts today; over all days more reviews are expected than cards are due; other users have none."""
    await bench.play(0.97, 0.97, 0.97)
    ask = contract.ForecastWorkloadRequest(user_id="ada", days=60)
    now = await bench.stub.ForecastWorkload(ask)
    assert [day.date for day in now.days[:2]] == ["2026-11-22", "2026-11-23"]
    assert (len(now.days), now.cards, now.cards_left_out, now.time_zone) == (60, 3, 0, "UTC")
    assert sum(day.due_cards for day in now.days) == 3
    assert sum(day.expected_reviews for day in now.days) > 3
    assert now.days[0].due_cards == 0
    bench.clock.advance(40 * DAY)
    overdue = await bench.stub.ForecastWorkload(ask)
    assert (overdue.days[0].due_cards, overdue.days[0].date) == (3, "2027-01-01")
    nobody = await bench.stub.ForecastWorkload(contract.ForecastWorkloadRequest(user_id="eve"))
    assert (len(nobody.days), sum(day.expected_reviews for day in nobody.days)) == (30, 0)


async def test_a_forecast_has_days_of_a_time_zone_and_a_limit(tmp_path: Path) -> None:
    """A day begins where the learner lives; more cards than the setting are left out and said."""
    async with learning(tmp_path, forecast_cards="2") as bench:
        await bench.play(0.97, 0.97, 0.97)
        ask = contract.ForecastWorkloadRequest(user_id="ada", days=1, time_zone="Pacific/Auckland")
        answer = await bench.stub.ForecastWorkload(ask)
        assert (answer.days[0].date, answer.days[0].start.ToJsonString()) == ("2026-11-23", "2026-11-22T11:00:00Z")
        assert (answer.cards, answer.cards_left_out) == (2, 1)
        unknown = contract.ForecastWorkloadRequest(user_id="ada", time_zone="Nowhere/Else")
        assert await _code(bench.stub.ForecastWorkload(unknown)) == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_curve_goes_through_the_reviews(bench: Bench) -> None:
    """Each review is on it, it starts anew at 1 there, falls in between, and ends with what the card itself says."""
    last = await bench.play(0.9)
    card_id = last.card.card_id
    for score in (0.8, 0.2, 0.97):
        bench.clock.advance(last.card.due_time.ToDatetime(tzinfo=START.tzinfo) - bench.clock.now() + DAY)
        due = (await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="ada"))).cards
        assert [card.card_id for card in due] == [card_id]
        started = await bench.start(rounds=1)
        assert started.round.card_id == card_id
        last = await bench.score(started.session_id, started.round_id, score)
    answer = await bench.stub.GetForgettingCurve(contract.GetForgettingCurveRequest(user_id="ada", card_id=card_id))
    assert [review.score for review in answer.reviews] == [0.9, 0.8, 0.2, 0.97]
    assert answer.reviews[2].rating == card_pb2.RATING_AGAIN
    assert answer.reviews[0].retrievability == 0
    assert all(0 < review.retrievability < 1 for review in answer.reviews[1:])
    assert answer.reviews[-1].stability == pytest.approx(last.card.stability)
    assert answer.desired_retention == 0.9
    times = [point.time.ToNanoseconds() for point in answer.points]
    assert times == sorted(times)
    for review in answer.reviews:
        assert 1.0 in [point.retrievability for point in answer.points if point.time == review.time]
    later = [point for point in answer.points if point.time.ToNanoseconds() > answer.reviews[-1].time.ToNanoseconds()]
    levels = [point.retrievability for point in later]
    assert levels == sorted(levels, reverse=True)
    assert answer.points[-1].time.ToNanoseconds() > answer.card.due_time.ToNanoseconds()


async def test_a_curve_shows_the_newest_reviews_of_a_long_history(tmp_path: Path) -> None:
    """What is shown of them is what it was: the card did not begin anew where the setting cuts."""
    card_id, ago = "git.everyday.staging", timedelta(days=400)
    log = [(START - ago + number * timedelta(days=9 * number), 0.6 if number % 2 else 0.9) for number in range(6)]
    logged = contract.ImportReviewsRequest(user_id="ada")
    for time, score in log:
        logged.reviews.add(card_id=card_id, score=score).time.FromDatetime(time)
    ask = contract.GetForgettingCurveRequest(user_id="ada", card_id=card_id)
    async with learning(tmp_path) as bench:
        await bench.stub.ImportReviews(logged)
        whole = await bench.stub.GetForgettingCurve(ask)
    async with learning(tmp_path, curve_reviews="3") as bench:
        cut = await bench.stub.GetForgettingCurve(ask)
    assert (len(whole.reviews), list(cut.reviews)) == (6, list(whole.reviews[-3:]))
    assert cut.points[0].time == cut.reviews[0].time
    assert list(cut.points) == list(whole.points[-len(cut.points) :])


async def test_a_curve_ends_where_it_is_told_to(bench: Bench) -> None:
    """`ahead` counts from now; a card that the user does not have is NOT_FOUND."""
    card_id = (await bench.play(0.9)).card.card_id
    ask = contract.GetForgettingCurveRequest(user_id="ada", card_id=card_id, ahead=Duration(seconds=3600))
    answer = await bench.stub.GetForgettingCurve(ask)
    assert answer.points[-1].time.ToDatetime(tzinfo=START.tzinfo) == START + timedelta(hours=1)
    for user, card in (("eve", card_id), ("ada", "python.none")):
        request = contract.GetForgettingCurveRequest(user_id=user, card_id=card)
        assert await _code(bench.stub.GetForgettingCurve(request)) == grpc.StatusCode.NOT_FOUND


async def test_learners_are_listed_whoever_trained_last_first(bench: Bench) -> None:
    """Page by page, each once; who has only started a session is not among them."""
    for user in ("ada", "bob", "eve"):
        await bench.play(0.9, 0.4, user=user)
        bench.clock.advance(DAY)
    await bench.start(user="zoe")
    found: list[card_pb2.Learner] = []
    token = ""
    while True:
        answer = await bench.stub.ListLearners(contract.ListLearnersRequest(page_size=2, page_token=token))
        found += answer.learners
        token = answer.next_page_token
        if not token:
            break
    assert [learner.user_id for learner in found] == ["eve", "bob", "ada"]
    assert (found[0].cards, found[0].reviews) == (2, 2)
    assert found[0].last_review_time.ToDatetime(tzinfo=START.tzinfo) == START + 2 * DAY


async def test_learners_who_train_between_two_pages_are_listed_once(bench: Bench) -> None:
    """Whether already listed or still to come, each of those who had trained when the list began is on one of its pages."""
    for user in ("ada", "bob", "eve", "joe"):
        await bench.play(0.9, user=user)
        bench.clock.advance(DAY)
    found, token = [], ""
    for trains in ("joe", "ada", "zoe", ""):
        answer = await bench.stub.ListLearners(contract.ListLearnersRequest(page_size=1, page_token=token))
        found += [learner.user_id for learner in answer.learners]
        token = answer.next_page_token
        if trains:
            await bench.play(0.9, user=trains)
    assert (found, token) == (["joe", "eve", "bob", "ada"], "")
