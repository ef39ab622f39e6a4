"""What the learning service shows of a learner: the overview, due cards by pages, mastery of domains and skills, the review log."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.learning.v1 import card_pb2, training_pb2
from tooloo.learning.v1 import learning_service_pb2 as contract
from tooloo.provider.v1.provider_events_pb2 import ProviderSelected

from services.learning.memory import Memory, MemoryModel
from tests.integration.learning_bench import DAY, START, Bench, bench, learning, reason_of

__all__ = ["bench"]


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
