"""Learning: a session from its start to a badge, as the learner, analytics and other callers see it."""

import asyncio

import pytest
from google.protobuf.json_format import MessageToDict
from tooloo.analytics.v1.analytics_service_pb2 import GetUserProgressRequest
from tooloo.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from tooloo.learning.v1.learning_service_pb2 import GetSessionRequest, ListMasteryRequest
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub
from tooloo.learning.v1.training_pb2 import SESSION_STATE_COMPLETED

from tests.journeys.steps import Json, get, post, streamed, told, train
from tests.support.mesh import Mesh, eventually

USER = "ada.learns"
SCORES = [1.0, 0.9, 1.0]


async def test_a_session_leads_to_mastery_and_a_badge(mesh: Mesh) -> None:
    """Start, three rounds of feedback, completed; then mastery and badges stand in analytics, by REST, gRPC and SSE alike."""
    position = await mesh.head()
    badge = asyncio.create_task(streamed(mesh, "badge.earned", position, userId=USER, badgeId="flawless"))
    async with mesh.rest() as client:
        last = await train(client, USER, "python", SCORES)
        assert (last["completed"], last["state"], last["nextRoundId"]) == (True, "SESSION_STATE_COMPLETED", "")
        assert last["session"]["meanScore"] == pytest.approx(sum(SCORES) / 3)

        overview = await get(client, "training/overview", userId=USER)
        assert overview["sessions"] == {"open": 0, "completed": 1}
        assert overview["streak"]["currentDays"] == 1
        assert overview["workload"]["cards"] == 3
        (python,) = overview["masteryByDomain"]
        assert (python["domain"], python["reviews"]) == ("python", 3)
        assert python["mastery"]["level"] > 0.5, "good scores raise what is expected"

        assert (await badge)["source"] == "analytics"
        earned = await get(client, "badges/earned", userId=USER)
        assert {each["badgeId"] for each in earned["badges"]} >= {"first-training", "flawless"}

    await _same_by_grpc(mesh, last["sessionId"])


async def _same_by_grpc(mesh: Mesh, session_id: str) -> None:
    async with mesh.channel("learning") as own_port, mesh.channel() as door:
        learning = LearningServiceStub(own_port)
        session = await learning.GetSession(GetSessionRequest(user_id=USER, session_id=session_id))
        assert session.session.state == SESSION_STATE_COMPLETED
        assert [each.score for each in session.rounds] == SCORES
        skills = (await learning.ListMastery(ListMasteryRequest(user_id=USER))).skills
        progress = await AnalyticsServiceStub(door).GetUserProgress(GetUserProgressRequest(user_id=USER))
    changes = await told(mesh, "mastery.changed", 3, userId=USER)
    heard = {(each.domain, each.skill): each.level for each in progress.masteries}
    assert heard == {(each["data"]["domain"], each["data"]["skill"]): each["data"]["after"]["level"] for each in changes}
    # a round moves what is believed of the learner as a whole too, so only the newest change is exactly what stands now
    newest = max(skills, key=lambda each: each.last_review_time.ToNanoseconds())
    assert heard[newest.domain, newest.skill] == pytest.approx(newest.mastery.level)
    assert progress.badge_count >= 2


async def test_what_a_session_tells_is_told_once_and_counted(mesh: Mesh) -> None:
    """An event for the start, for each feedback and change of mastery, for the end, in their order; analytics counts them."""
    user = "grace.learns"
    async with mesh.rest() as client:
        session = (await train(client, user, "Distributed systems", [0.2, 0.8]))["sessionId"]
        await told(mesh, "training.completed", userId=user)
        mine = [event for event in await mesh.events() if event["data"].get("userId") == user and event["source"] == "learning"]
        kinds = ["training.started", *["coach.feedback.given", "mastery.changed"] * 2, "training.completed"]
        assert sorted(event["type"] for event in mine) == sorted(kinds)
        in_session = [event["type"] for event in mine if event["subject"] == f"users/{user}/sessions/{session}"]
        assert in_session == ["training.started", "coach.feedback.given", "coach.feedback.given", "training.completed"]

        progress = await eventually(lambda: get(client, f"analytics/users/{user}"), lambda it: int(it["eventCount"]) >= 6)
        assert progress["activeDays"] == 1
        overview = await get(client, "analytics/overview")
        counted = {row["type"]: int(row["count"]) for row in overview["events"]}
        assert counted["coach.feedback.given"] >= 2
        assert overview["errorBound"] == 0.01


async def test_a_closed_round_takes_no_second_score(mesh: Mesh) -> None:
    """A second score for a round is refused and moves nothing; someone else's round does not exist."""
    user = "alan.learns"
    async with mesh.rest() as client:
        begun = await post(client, "training/start", {"userId": user, "focusArea": "sql", "roundCount": 2})
        feedback = {"userId": user, "sessionId": begun["sessionId"], "roundId": begun["roundId"], "score": 1}
        await post(client, "coach/feedback", feedback)
        before = _levels(await get(client, "mastery", userId=user))
        refused = await client.post("/api/v1/coach/feedback", json={**feedback, "score": 0})
        assert refused.status_code == 400
        assert refused.json()["details"][0]["reason"] == "STATE_FORBIDS"
        stranger = await client.post("/api/v1/coach/feedback", json={**feedback, "userId": "eve.learns"})
        assert (stranger.status_code, stranger.json()["details"][0]["reason"]) == (404, "RESOURCE_NOT_FOUND")
        assert _levels(await get(client, "mastery", userId=user)) == before
    async with mesh.channel() as door:
        skills = await LearningServiceStub(door).ListMastery(ListMasteryRequest(user_id=user))
    assert _levels(MessageToDict(skills, always_print_fields_with_no_presence=True)) == before


def _levels(mastery: Json) -> dict[str, tuple[float, int]]:
    """Level and rounds by skill; the uncertainty beside them grows with every moment."""
    return {each["skill"]: (each["mastery"]["level"], each["reviews"]) for each in mastery["skills"]}
