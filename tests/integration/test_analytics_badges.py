"""Badges: earned and told once, over repeats, restarts and late events; rules of one's own, and broken ones."""

from datetime import UTC, timedelta
from pathlib import Path

import pytest
from tooloo.analytics.v1 import analytics_service_pb2 as pb
from tooloo.analytics.v1 import badge_pb2
from tooloo.learning.v1 import learning_events_pb2, mastery_pb2
from tooloo.system.v1 import system_events_pb2

from mesh import testing
from mesh.clock import ManualClock
from services.analytics.__main__ import build
from tests.integration.analytics_bench import NOON, QUIET, Lab, completed, lab

__all__ = ["lab"]


async def test_a_badge_is_earned_once_and_told_once(lab: Lab) -> None:
    """Ten trainings in three domains: first steps at the first, explorer at the third domain, none twice."""
    for index in range(10):
        await lab.hear(completed(domain=["python", "sql", "python", "math"][index % 4]))
        lab.clock.advance(timedelta(seconds=1))
    told = await lab.told("badge.earned")
    assert [(one.user_id, one.badge_id) for one in told] == [("ada", "first-training"), ("ada", "explorer")]
    request = pb.ListEarnedBadgesRequest(user_id="ada", page_size=1)
    first = await lab.stub.ListEarnedBadges(request)
    request.page_token = first.next_page_token
    second = await lab.stub.ListEarnedBadges(request)
    assert [badge.badge_id for badge in [*first.badges, *second.badges]] == ["first-training", "explorer"]
    assert second.badges[0].earn_time.ToDatetime(UTC) == NOON + timedelta(seconds=3)
    assert second.badges[0].event_id == told[1].event_id
    assert not second.next_page_token
    assert not (await lab.stub.ListEarnedBadges(pb.ListEarnedBadgesRequest(user_id="bob"))).badges


async def test_the_same_event_twice_counts_once_for_a_badge(lab: Lab) -> None:
    """Delivered at least once, applied once."""
    feedback = learning_events_pb2.CoachFeedbackGiven(user_id="ada", score=1)
    for _ in range(3):
        await lab.hear(feedback, event_id="0193f0a0-0000-7000-8000-000000000002")
    rules = {rule.badge_id: rule for rule in (await lab.stub.ListBadgeRules(pb.ListBadgeRulesRequest(user_id="ada"))).rules}
    assert rules["ten-rounds"].progress.value == 1
    assert rules["ten-rounds"].progress.fraction == pytest.approx(0.1)


async def test_a_streak_of_seven_days_survives_restarts_and_late_events(lab: Lab) -> None:
    """The days come out of order, one of them late, the service restarts in between."""
    feedback = learning_events_pb2.CoachFeedbackGiven(user_id="ada", score=1)
    for day in (6, 0, 1, 2, 5, 4):
        await lab.hear(feedback, at=NOON - timedelta(days=day))
        await lab.bench.restart()
    assert "week-streak" not in [badge.badge_id for badge in await lab.told("badge.earned")]
    await lab.hear(feedback, at=NOON - timedelta(days=3))
    assert [badge.badge_id for badge in await lab.told("badge.earned")] == ["week-streak"]


async def test_mastery_shows_in_progress_and_earns_a_badge(lab: Lab) -> None:
    """What learning told last of a skill stands, older news that comes late does not undo it."""

    def changed(level: float) -> learning_events_pb2.MasteryChanged:
        after = mastery_pb2.Mastery(level=level, level_low=level - 0.2)
        return learning_events_pb2.MasteryChanged(user_id="ada", domain="python", skill="loops", after=after)

    await lab.hear(changed(0.85))
    await lab.hear(changed(0.6), at=NOON - timedelta(hours=1))
    answer = await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada"))
    (mastery,) = answer.masteries
    assert (mastery.domain, mastery.skill, mastery.level) == ("python", "loops", 0.85)
    assert (answer.event_count, answer.active_days, answer.badge_count) == (2, 1, 1)
    assert (await lab.told("badge.earned"))[0].badge_id == "skilled"
    await lab.upkeep.fold()
    assert await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada")) == answer
    nobody = await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="bob"))
    assert nobody == pb.GetUserProgressResponse(user_id="bob")


async def test_mastery_goes_on_after_a_clock_was_set_back(lab: Lab) -> None:
    """What is told after it counts, though its time is before that of what was known."""
    for level, back in ((0.8, timedelta()), (0.5, timedelta(days=1))):
        lab.clock.advance(-back)
        after = mastery_pb2.Mastery(level=level, level_low=level)
        await lab.hear(learning_events_pb2.MasteryChanged(user_id="ada", domain="python", skill="loops", after=after))
    (mastery,) = (await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada"))).masteries
    assert mastery.level == 0.5


async def test_a_mastery_that_is_no_number_changes_nothing(lab: Lab) -> None:
    """What anyone may publish must not stop those who hear it."""
    after = mastery_pb2.Mastery(level=float("nan"), level_low=float("inf"))
    await lab.hear(learning_events_pb2.MasteryChanged(user_id="ada", domain="python", skill="loops", after=after))
    answer = await lab.stub.GetUserProgress(pb.GetUserProgressRequest(user_id="ada"))
    assert (list(answer.masteries), answer.event_count) == ([], 1)


async def test_rules_are_listed_and_none_of_the_shipped_ones_is_broken(lab: Lab) -> None:
    """Every shipped rule reads types and fields that the contracts have."""
    answer = await lab.stub.ListBadgeRules(pb.ListBadgeRulesRequest())
    assert {rule.problem for rule in answer.rules} == {""}
    flawless = next(rule for rule in answer.rules if rule.badge_id == "flawless")
    assert list(flawless.conditions) == ["mean_score >= 0.95", "round_count >= 3"]
    assert flawless.kind == badge_pb2.BADGE_RULE_KIND_COUNT
    assert not flawless.HasField("progress")


async def test_own_rules_may_use_any_event_and_broken_ones_say_so(tmp_path: Path) -> None:
    """Rules are data: another file, events of other services, a user in another field, the hour of the envelope."""
    rules = tmp_path / "badges.toml"
    rules.write_text(
        '[[badge]]\nid="early"\nname="Early"\ndescription="D"\nkind="count"\nevents=["service.started"]\nuser_field="process"\n'
        'where=[{field="event.hour", op="==", value=12}, {field="restarts", op=">", value=0}]\ntarget=2\n'
        '[[badge]]\nid="typo"\nname="T"\ndescription="D"\nkind="count"\nevents=["service.begun"]\ntarget=1\n'
        '[[badge]]\nid="field"\nname="F"\ndescription="D"\nkind="max"\nevents=["service.started"]\nuser_field="process"\nfield="pid.x"\ntarget=1\n',
        encoding="utf-8",
    )
    clock = ManualClock(NOON)
    settings = {**QUIET, "TOOLOO_ANALYTICS_BADGES_FILE": str(rules)}
    async with testing.running("analytics", build, tmp_path, clock=clock, settings=settings) as bench:
        lab = Lab(bench, clock)
        for restarts in (0, 1, 2):
            await lab.hear(system_events_pb2.ServiceStarted(service="s", process="p", restarts=restarts), source="system")
        assert [(one.user_id, one.badge_id) for one in await lab.told("badge.earned")] == [("p", "early")]
        problems = {rule.badge_id: rule.problem for rule in (await lab.stub.ListBadgeRules(pb.ListBadgeRulesRequest())).rules}
        assert problems == {
            "early": "",
            "typo": "the catalogue has no event type 'service.begun'",
            "field": "tooloo.system.v1.ServiceStarted has no field 'pid.x'",
        }
