"""The learning service through its real server and files: every call, every refusal, restart, repeats, events told and heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1 import card_pb2, learning_events_pb2, training_pb2
from tooloo.learning.v1 import learning_service_pb2 as contract
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub
from tooloo.provider.v1.provider_events_pb2 import ProviderQueryCompleted, ProviderSelected

from mesh import errors, testing
from mesh.clock import ManualClock
from services.learning.__main__ import build
from services.learning.memory import Memory, MemoryModel

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


async def test_the_overview_of_a_newcomer_is_empty(bench: Bench) -> None:
    """Nobody is unknown: who has no training has an empty overview."""
    overview = await bench.overview("nobody")
    assert overview.user_id == "nobody"
    assert overview.rounds_completed == 0
    assert overview.streak.current_days == 0
    assert not overview.mastery_by_domain


async def test_the_overview(bench: Bench) -> None:
    """Mastery, workload, sessions and streak add up after two days of training."""
    await bench.play(0.9, 0.4)
    bench.clock.advance(DAY)
    await bench.play(1.0, focus="sql")
    open_session = await bench.start(focus="sql")
    overview = await bench.overview()
    assert [(domain.domain, domain.reviews) for domain in overview.mastery_by_domain] == [("python", 2), ("sql", 1)]
    assert overview.mastery_by_domain[1].skills_total == 4
    assert overview.mastery_by_domain[1].skills_practised == 1
    mastery = overview.mastery_by_domain[1].mastery
    assert 0 < mastery.level_low < mastery.level < mastery.level_high < 1
    assert overview.workload.cards == 3
    assert overview.workload.due_now >= 1
    assert overview.workload.due_now <= overview.workload.due_this_week <= 3
    assert (overview.sessions.open, overview.sessions.completed) == (1, 2)
    assert [session.session_id for session in overview.open_sessions] == [open_session.session_id]
    assert [session.domain for session in overview.recent_sessions] == ["sql", "python"]
    assert [shown.domain for shown in overview.recent_rounds] == ["sql", "python", "python"]
    assert overview.recent_rounds[0].score == 1.0
    assert (overview.streak.current_days, overview.streak.longest_days, overview.streak.active_today) == (2, 2, True)
    assert overview.time_zone == "UTC"


async def test_the_week_ahead(bench: Bench) -> None:
    """A card that comes due in minutes counts for the week, one that comes due later does not."""
    await bench.play(0.8, 1.0)
    workload = (await bench.overview()).workload
    assert (workload.due_now, workload.due_this_week, workload.cards) == (0, 1, 2)
    assert workload.next_due_time.ToDatetime(UTC) == START + timedelta(minutes=10)
    bench.clock.advance(2 * DAY)
    workload = (await bench.overview()).workload
    assert (workload.due_now, workload.due_this_week) == (1, 2)


async def test_an_overview_shows_the_domains_practised_last(tmp_path: Path) -> None:
    """When there are more domains than the setting shows, the older ones go."""
    async with learning(tmp_path, overview_domains="1") as bench:
        await bench.play(0.9, focus="git")
        bench.clock.advance(DAY)
        await bench.play(0.9, focus="sql")
        assert [domain.domain for domain in (await bench.overview()).mastery_by_domain] == ["sql"]


async def test_streak_days_are_counted_in_the_time_zone_asked_for(bench: Bench) -> None:
    """Two rounds on one UTC day can be two days in Kiritimati (UTC+14)."""
    bench.clock.advance(timedelta(hours=-3))
    await bench.play(0.9)
    bench.clock.advance(timedelta(hours=2))
    await bench.play(0.9)
    assert (await bench.overview()).streak.current_days == 1
    assert (await bench.overview(zone="Pacific/Kiritimati")).streak.current_days == 2


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../etc/passwd"])
async def test_an_unknown_time_zone_is_refused(bench: Bench, zone: str) -> None:
    """A time zone is a name of the IANA database, not a path."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.overview(zone=zone)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "time_zone" in str(refused.value.details())


async def test_due_cards_page_in_order(bench: Bench) -> None:
    """Pages hold every due card once, the longest waiting first, whatever the page size."""
    await bench.play(0.8, 0.9, 1.0, 0.2, 0.6)
    bench.clock.advance(30 * DAY)
    whole = await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="ada"))
    assert len(whole.cards) == 5
    due = [card.due_time.ToDatetime() for card in whole.cards]
    assert due == sorted(due)
    paged: list[card_pb2.Card] = []
    request = contract.ListDueCardsRequest(user_id="ada", page_size=2)
    while True:
        answer = await bench.stub.ListDueCards(request)
        paged += answer.cards
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert paged == list(whole.cards)
    assert not (await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="eve"))).cards


async def test_pages_share_the_moment_of_the_first(bench: Bench) -> None:
    """What comes due between two pages is not mixed into the listing."""
    await bench.play(0.8)
    bench.clock.advance(timedelta(minutes=1))
    await bench.play(0.8, focus="sql")
    await bench.play(1.0, focus="git")
    bench.clock.advance(timedelta(hours=1))
    first = await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="ada", page_size=1))
    bench.clock.advance(30 * DAY)
    second = await bench.stub.ListDueCards(
        contract.ListDueCardsRequest(user_id="ada", page_size=1, page_token=first.next_page_token)
    )
    assert [card.domain for card in (*first.cards, *second.cards)] == ["python", "sql"]
    assert not second.next_page_token


async def test_due_cards_look_ahead(bench: Bench) -> None:
    """`within` adds what is still to come, and `domain` keeps the rest out."""
    await bench.play(1.0)
    await bench.play(1.0, focus="sql")
    now = await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="ada"))
    month = contract.ListDueCardsRequest(user_id="ada", domain="sql", within=Duration(seconds=30 * 86400))
    later = await bench.stub.ListDueCards(month)
    assert not now.cards
    assert [card.domain for card in later.cards] == ["sql"]


@pytest.mark.parametrize("token", ["rubbish", "WyIiLHt9XQ", "!"])
async def test_a_foreign_page_token_is_refused(bench: Bench, token: str) -> None:
    """Only tokens that this query gave are taken."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.stub.ListDueCards(contract.ListDueCardsRequest(user_id="ada", page_token=token))
    assert reason_of(refused.value) == "INVALID_PAGE_TOKEN"


async def test_mastery_by_skill(bench: Bench) -> None:
    """Practised skills are listed by domain and skill, page by page, with their titles."""
    await bench.play(0.9, 0.9, 0.9)
    await bench.play(0.2, focus="sql")
    whole = await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada"))
    places = [(skill.domain, skill.skill) for skill in whole.skills]
    assert places == sorted(places)
    assert {domain for domain, _ in places} == {"python", "sql"}
    assert all(skill.title and skill.title != skill.skill for skill in whole.skills)
    first = await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada", page_size=1))
    rest = await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada", page_size=1, page_token=first.next_page_token))
    assert [*first.skills, *rest.skills] == list(whole.skills)[:2]
    only = await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada", domain="sql", skill=places[-1][1]))
    assert [(skill.domain, skill.skill) for skill in only.skills] == [places[-1]]


async def test_rounds_add_up_in_their_skills(bench: Bench) -> None:
    """Every closed round counts in exactly one skill."""
    await bench.play(*[0.8] * 12)
    skills = (await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada"))).skills
    assert sum(skill.reviews for skill in skills) == 12
    assert max(skill.reviews for skill in skills) > 1


async def test_a_good_learner_is_expected_to_do_better_elsewhere(bench: Bench) -> None:
    """What is learned of a person in one domain carries over to a domain never practised."""
    await bench.play(1.0, 1.0, 1.0)
    answer = await bench.play(0.5, focus="sql")
    assert answer.mastery_before.level > 0.55


async def test_a_skill_that_others_found_hard_is_expected_to_be_hard(bench: Bench) -> None:
    """The difficulty of a skill is learned from everybody's rounds, and nothing else of them shows."""
    before = await bench.play(0.5, user="eve")
    low = {user: await bench.play(0.0, user=user) for user in ("ada", "bob", "cy")}
    assert {answer.closed_round.skill for answer in low.values()} == {before.closed_round.skill}
    after = await bench.play(0.5, user="dan")
    assert after.mastery_before.level < before.mastery_before.level


async def test_the_review_log_gives_the_cards(bench: Bench) -> None:
    """Replaying a user's closed rounds in order gives the memory that the service keeps, to the last bit."""
    log: list[training_pb2.Round] = []
    for scores in ((0.9, 0.3, 1.0), (0.6, 0.8), (0.1, 1.0, 0.7)):
        answer = await bench.play(*scores)
        got = await bench.stub.GetSession(contract.GetSessionRequest(user_id="ada", session_id=answer.session_id))
        log += got.rounds
        bench.clock.advance(9 * DAY)
    model, replayed = MemoryModel(0.9), dict[str, Memory]()
    for reviewed in log:
        now = reviewed.close_time.ToDatetime(UTC)
        replayed[reviewed.card_id] = model.review(replayed.get(reviewed.card_id), reviewed.score, now)
    year = contract.ListDueCardsRequest(user_id="ada", within=Duration(seconds=366 * 86400))
    kept = (await bench.stub.ListDueCards(year)).cards
    assert {card.card_id: (card.stability, card.difficulty, card.reviews) for card in kept} == {
        card_id: (memory.stability, memory.difficulty, memory.reviews) for card_id, memory in replayed.items()
    }
    assert any(memory.reviews > 1 for memory in replayed.values())


async def test_pages_of_a_topic_in_any_script(bench: Bench) -> None:
    """Page tokens carry whatever the domain is called."""
    topic = "👩‍💻" * 20
    await bench.play(0.9, 0.9, 0.9, focus=topic)
    bench.clock.advance(30 * DAY)
    request = contract.ListDueCardsRequest(user_id="ada", page_size=1, domain=topic)
    for _ in range(3):
        answer = await bench.stub.ListDueCards(request)
        assert len(answer.cards) == 1
        request.page_token = answer.next_page_token
    assert not request.page_token


async def test_uncertainty_grows_with_time(bench: Bench) -> None:
    """After a long rest the level stands but its interval is wider."""
    await bench.play(0.9)
    fresh = (await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada"))).skills[0].mastery
    bench.clock.advance(60 * DAY)
    rested = (await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="ada"))).skills[0].mastery
    assert rested.level == fresh.level
    assert rested.deviation > fresh.deviation


async def test_users_do_not_see_each_other(bench: Bench) -> None:
    """One user's training leaves no trace in what another user is shown."""
    before = await bench.overview("eve")
    await bench.play(0.9, 0.8)
    await bench.running.hear(ProviderSelected(provider_id="p", model="m", focus_area="python", user_id="ada"))
    assert await bench.overview("eve") == before
    assert not (await bench.stub.ListMastery(contract.ListMasteryRequest(user_id="eve"))).skills


async def test_provider_selections_are_heard_once(bench: Bench) -> None:
    """A selection is counted by domain, and its event counts once however often it comes."""
    selected = ProviderSelected(selection_id="s1", provider_id="anthropic", model="claude", focus_area="Python")
    assert await bench.running.hear(selected, event_id=str(uuid4()))
    again = str(uuid4())
    assert await bench.running.hear(selected, event_id=again)
    assert not await bench.running.hear(selected, event_id=again)
    (use,) = (await bench.overview()).providers_by_domain
    assert (use.domain, use.provider_id, use.model, use.selections) == ("python", "anthropic", "claude", 2)
    assert not use.HasField("mean_score")


async def test_scores_are_counted_to_the_provider_selected_last(bench: Bench) -> None:
    """How well a provider serves a domain is the mean score of the rounds that followed its selection, for their own learner."""
    await bench.running.hear(ProviderSelected(provider_id="old", model="m", focus_area="python"))
    bench.clock.advance(timedelta(minutes=1))
    await bench.running.hear(ProviderSelected(provider_id="new", model="m", focus_area="python"))
    await bench.play(0.4, 0.8)
    uses = {use.provider_id: use for use in (await bench.overview()).providers_by_domain}
    assert uses["new"].feedbacks == 2
    assert uses["new"].mean_score == pytest.approx(0.6)
    assert uses["new"].last_select_time.ToDatetime(UTC) == START + timedelta(minutes=1)
    assert uses["old"].feedbacks == 0
    assert all(not use.HasField("mean_score") for use in (await bench.overview("eve")).providers_by_domain)
    given = learning_events_pb2.CoachFeedbackGiven()
    (event, _) = [event for event in await bench.running.told() if event.type == "coach.feedback.given"]
    assert event.data.Unpack(given)
    assert (given.provider_id, given.model) == ("new", "m")


async def test_scores_are_not_counted_to_the_provider_of_another_user(bench: Bench) -> None:
    """A selection for one user says nothing about the rounds of another."""
    await bench.running.hear(ProviderSelected(provider_id="hers", model="m", focus_area="python", user_id="eve"))
    await bench.play(0.9)
    assert not (await bench.overview("ada")).providers_by_domain
    (use,) = (await bench.overview("eve")).providers_by_domain
    assert use.feedbacks == 0


async def test_scores_are_counted_to_the_model_that_answered(bench: Bench) -> None:
    """One was selected, but could not answer, and another one did: the score is that one's, which was not selected."""
    await bench.running.hear(ProviderSelected(provider_id="chosen", model="m", focus_area="python"))
    bench.clock.advance(timedelta(seconds=1))
    await bench.running.hear(ProviderQueryCompleted(query_id="q", provider_id="answered", model="m", focus_area="python"))
    await bench.play(0.4)
    uses = {use.provider_id: use for use in (await bench.overview()).providers_by_domain}
    assert (uses["answered"].feedbacks, uses["answered"].selections) == (1, 0)
    assert (uses["chosen"].feedbacks, uses["chosen"].selections) == (0, 1)


async def test_selections_that_arrive_late_do_not_become_the_latest(bench: Bench) -> None:
    """What counts is when a selection was made, not when it was heard."""
    early = Event(id=str(uuid4()), type="provider.selected", source="provider", subject="selections/1", position=2)
    early.time.FromDatetime(START - timedelta(hours=1))
    early.data.Pack(ProviderSelected(provider_id="one", model="m", focus_area="python"))
    await bench.running.hear(ProviderSelected(provider_id="one", model="m", focus_area="python"))
    assert await bench.running.hear_event(early)
    (use,) = (await bench.overview()).providers_by_domain
    assert use.selections == 2
    assert use.last_select_time.ToDatetime(UTC) == START


async def test_scores_long_after_a_selection_are_not_counted(bench: Bench) -> None:
    """A selection earns scores for a day, not for ever."""
    await bench.running.hear(ProviderSelected(provider_id="p", model="m", focus_area="python"))
    bench.clock.advance(2 * DAY)
    await bench.play(0.9)
    (use,) = (await bench.overview()).providers_by_domain
    assert use.feedbacks == 0


async def test_a_selection_without_focus_area_is_kept_apart(bench: Bench) -> None:
    """It says nothing about a domain, so it is counted under "generic"."""
    await bench.running.hear(ProviderSelected(provider_id="p", model="m"))
    (use,) = (await bench.overview()).providers_by_domain
    assert use.domain == "generic"
