"""Sessions of the learning service through its real server and file: every refusal, restart, repeats, and what is told."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from tooloo.learning.v1 import card_pb2, learning_events_pb2, training_pb2
from tooloo.learning.v1 import learning_service_pb2 as contract

from tests.integration.learning_bench import DAY, START, Bench, bench, learning, reason_of, types_of

__all__ = ["bench"]


async def test_start_gives_the_first_round(bench: Bench) -> None:
    """A new session is open and its first round asks for something of the domain."""
    started = await bench.start(focus="Py", rounds=3)
    assert started.state == training_pb2.SESSION_STATE_OPEN
    assert started.session.domain == "python"
    assert started.session.focus_area == "Py"
    assert started.session.round_count == 3
    assert started.round.round_id == started.round_id
    assert started.round.number == 1
    assert started.round.state == training_pb2.ROUND_STATE_OPEN
    assert started.round.reason == training_pb2.ROUND_REASON_WEAKEST_SKILL
    assert started.round.card_id.startswith("python.")
    assert started.round.prompt
    assert 0 < started.round.expected_score < 1
    assert not started.round.HasField("score")


async def test_a_whole_session(bench: Bench) -> None:
    """Feedback closes a round, moves memory and mastery and opens the next; the last one completes the session."""
    started = await bench.start(rounds=2)
    first = await bench.score(started.session_id, started.round_id, 0.9)
    assert not first.completed
    assert first.closed_round.score == 0.9
    assert first.closed_round.comment == "well said"
    assert first.rating == card_pb2.RATING_GOOD
    assert first.card.card_id == started.round.card_id
    assert first.card.reviews == 1
    assert first.card.retrievability == pytest.approx(1.0)
    assert first.mastery.level > first.mastery_before.level
    assert first.mastery.deviation < first.mastery_before.deviation
    assert first.next_round.round_id == first.next_round_id
    assert first.next_round.card_id != started.round.card_id
    last = await bench.score(started.session_id, first.next_round_id, 0.1)
    assert last.completed
    assert last.state == training_pb2.SESSION_STATE_COMPLETED
    assert last.next_round_id == ""
    assert not last.HasField("next_round")
    assert last.session.mean_score == pytest.approx(0.5)
    assert last.mastery.level < last.mastery_before.level


async def test_what_is_told(bench: Bench) -> None:
    """Each change is told once, in order, with the session as subject and without the coach's comment."""
    answer = await bench.play(0.9)
    told = await bench.running.told()
    assert types_of(told) == ["training.started", "coach.feedback.given", "mastery.changed", "training.completed"]
    subject = f"users/ada/sessions/{answer.session_id}"
    assert [event.subject for event in told] == [subject, subject, f"users/ada/mastery/python/{answer.closed_round.skill}", subject]
    given, moved, completed = (
        learning_events_pb2.CoachFeedbackGiven(),
        learning_events_pb2.MasteryChanged(),
        learning_events_pb2.TrainingCompleted(),
    )
    assert told[1].data.Unpack(given)
    assert told[2].data.Unpack(moved)
    assert told[3].data.Unpack(completed)
    assert given.score == 0.9
    assert given.rating == card_pb2.RATING_GOOD
    assert moved.after == answer.mastery
    assert moved.before == answer.mastery_before
    assert completed.mean_score == 0.9
    assert completed.complete_time.ToDatetime(UTC) == START
    assert all(b"well said" not in event.SerializeToString() for event in told)


async def test_any_focus_area_works(bench: Bench) -> None:
    """A topic that the curriculum does not know gets generic exercises about it."""
    started = await bench.start(focus="Bee  Keeping", rounds=1)
    assert started.session.domain == "bee-keeping"
    assert "Bee  Keeping" in started.round.prompt
    answer = await bench.score(started.session_id, started.round_id, 1)
    assert answer.completed
    overview = await bench.overview()
    assert overview.mastery_by_domain[0].domain == "bee-keeping"


async def test_due_cards_come_first(bench: Bench) -> None:
    """What was learned in one session is asked again in a later one, when it is due."""
    first = await bench.play(0.8)
    bench.clock.advance(20 * DAY)
    started = await bench.start(rounds=1)
    assert started.round.reason == training_pb2.ROUND_REASON_DUE
    assert started.round.card_id == first.closed_round.card_id


async def test_a_card_forgotten_twice_counts_its_lapse(bench: Bench) -> None:
    """A known card that scores low goes back to short steps and its lapse is counted."""
    await bench.play(1.0)
    bench.clock.advance(20 * DAY)
    answer = await bench.play(0.0)
    assert answer.card.state == card_pb2.CARD_STATE_RELEARNING
    assert answer.card.lapses == 1
    assert answer.card.reviews == 2
    bench.clock.advance(timedelta(hours=1))
    (kept,) = (await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="ada"))).cards
    assert (kept.lapses, kept.reviews) == (1, 2)


async def test_a_long_session_asks_everything_before_it_repeats(bench: Bench) -> None:
    """No exercise comes a second time while another one has not come."""
    started = await bench.start(rounds=30)
    asked, round_id = [started.round.card_id], started.round_id
    for _ in range(20):
        answer = await bench.score(started.session_id, round_id, 0.8)
        asked.append(answer.next_round.card_id)
        round_id = answer.next_round_id
    distinct = len(set(asked))
    assert distinct > 10
    assert len(set(asked[:distinct])) == distinct


async def test_feedback_for_a_closed_round_is_refused(bench: Bench) -> None:
    """A round takes one score; the first one stands."""
    started = await bench.start()
    await bench.score(started.session_id, started.round_id, 0.9)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.score(started.session_id, started.round_id, 0.1)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(refused.value) == "STATE_FORBIDS"
    assert (await bench.overview()).rounds_completed == 1


async def test_feedback_for_a_completed_session_is_refused(bench: Bench) -> None:
    """Nothing follows the last round."""
    last = await bench.play(0.9)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.score(last.session_id, last.closed_round.round_id, 0.1)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "start another" in str(refused.value.details())


async def test_another_users_session_is_not_found(bench: Bench) -> None:
    """Existing and missing sessions look the same to anyone else, in reads and writes."""
    started = await bench.start("ada")
    missing = str(uuid4())
    texts = set()
    for session_id in (started.session_id, missing):
        with pytest.raises(grpc.aio.AioRpcError) as unscored:
            await bench.score(session_id, started.round_id, 1, user="eve")
        with pytest.raises(grpc.aio.AioRpcError) as unread:
            await bench.stub.GetSession(contract.GetSessionRequest(user_id="eve", session_id=session_id))
        for refused in (unscored, unread):
            assert refused.value.code() == grpc.StatusCode.NOT_FOUND
            texts.add(str(refused.value.details()).replace(session_id, "<id>"))
    assert len(texts) == 1


async def test_a_round_of_another_session_is_not_found(bench: Bench) -> None:
    """A round is looked for in the session that is named."""
    one, other = await bench.start(), await bench.start()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.score(one.session_id, other.round_id, 1)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("user_id", contract.GiveCoachFeedbackRequest(session_id=str(uuid4()), round_id=str(uuid4()), score=1)),
        ("session_id", contract.GiveCoachFeedbackRequest(user_id="ada", session_id="x", round_id=str(uuid4()), score=1)),
        ("score", contract.GiveCoachFeedbackRequest(user_id="ada", session_id=str(uuid4()), round_id=str(uuid4()))),
        ("score", contract.GiveCoachFeedbackRequest(user_id="ada", session_id=str(uuid4()), round_id=str(uuid4()), score=1.01)),
        (
            "score",
            contract.GiveCoachFeedbackRequest(user_id="ada", session_id=str(uuid4()), round_id=str(uuid4()), score=float("nan")),
        ),
    ],
)
async def test_feedback_fields_are_checked(bench: Bench, field: str, request_: contract.GiveCoachFeedbackRequest) -> None:
    """Each wrong field is named; a missing score is not taken for zero."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.stub.GiveCoachFeedback(request_)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in str(refused.value.details())


@pytest.mark.parametrize("focus", ["", " python", "py\x00thon", "x" * 65])
async def test_focus_area_is_checked(bench: Bench, focus: str) -> None:
    """A focus area has text, no control characters and a bounded length."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.start(focus=focus)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("focus", ["C++", "C#", "машинное обучение", "機械学習", "a/b", "🐝", "{topic}", "%", "generic", "..", "-"])
async def test_odd_focus_areas_work(bench: Bench, focus: str) -> None:
    """Whatever the topic is called, a session about it can be played to its end."""
    answer = await bench.play(0.7, focus=focus)
    assert answer.completed


async def test_too_many_open_sessions(tmp_path: Path) -> None:
    """The limit is per user and names its setting."""
    async with learning(tmp_path, max_open_sessions="1") as bench:
        await bench.start("ada")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bench.start("ada")
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(refused.value) == "LIMIT_REACHED"
        await bench.start("eve")


async def test_the_same_request_id_gives_the_same_answer(bench: Bench) -> None:
    """A repeated start or feedback answers as before and changes nothing."""
    request = contract.StartTrainingRequest(request_id=str(uuid4()), user_id="ada", focus_area="git", round_count=2)
    started = await bench.stub.StartTraining(request)
    assert await bench.stub.StartTraining(request) == started
    request_id = str(uuid4())
    scored = await bench.score(started.session_id, started.round_id, 0.9, request_id=request_id)
    bench.clock.advance(DAY)
    assert await bench.score(started.session_id, started.round_id, 0.9, request_id=request_id) == scored
    assert (await bench.overview()).rounds_completed == 1
    assert types_of(await bench.running.told()) == ["training.started", "coach.feedback.given", "mastery.changed"]


async def test_a_session_survives_a_hard_stop(bench: Bench) -> None:
    """After a restart without drain the session stands where it stood and goes on."""
    started = await bench.start(rounds=2)
    first = await bench.score(started.session_id, started.round_id, 0.8)
    before = await bench.overview()
    await bench.running.restart()
    assert await bench.overview() == before
    last = await bench.score(started.session_id, first.next_round_id, 0.9)
    assert last.completed


async def test_get_session(bench: Bench) -> None:
    """A session is shown with all its rounds so far."""
    started = await bench.start(rounds=3)
    await bench.score(started.session_id, started.round_id, 0.8)
    got = await bench.stub.GetSession(contract.GetSessionRequest(user_id="ada", session_id=started.session_id))
    assert got.session.rounds_completed == 1
    assert [shown.number for shown in got.rounds] == [1, 2]
    assert [shown.state for shown in got.rounds] == [training_pb2.ROUND_STATE_CLOSED, training_pb2.ROUND_STATE_OPEN]
