"""The whole lifecycle in one: connect, choose, say, train, spend, index, earn; every event of it hangs together."""

import uuid

import grpc
import httpx
from tooloo.analytics.v1.analytics_service_pb2 import ListEarnedBadgesRequest
from tooloo.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from tooloo.bus.v1.bus_service_pb2 import ReadEventsRequest
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub
from tooloo.bus.v1.subscription_pb2 import EventFilter
from tooloo.event.v1.event_pb2 import Event

from tests.journeys.conftest import Connected
from tests.journeys.steps import Json, get, post
from tests.peers import github, oidc
from tests.support.mesh import Mesh, eventually

USER = "lovelace"
WORKFLOW = {
    "workflowId": "train-and-log",
    "dag": {
        "nodes": [
            {
                "id": "start",
                "call": "tooloo.learning.v1.LearningService/StartTraining",
                "input": {
                    "userId": "${input.userId}",
                    "focusArea": "${input.slots.focusArea}",
                    "roundCount": "${input.slots.count}",
                },
            },
            {
                "id": "log",
                "call": "tooloo.analytics.v1.AnalyticsService/LogMetric",
                "input": {"name": "sessions_by_words", "value": 1, "labels": {"session": "${nodes.start.output.sessionId}"}},
            },
        ]
    },
}

TOLD = {
    "oauth.completed",
    "provider.selected",
    "intent.classified",
    "dag.started",
    "training.started",
    "metric.logged",
    "dag.completed",
    "coach.feedback.given",
    "mastery.changed",
    "training.completed",
    "badge.earned",
    "budget.threshold_exceeded",
    "slack.sent",
    "github.synced",
    "context.indexed",
}


async def test_a_whole_life_in_the_mesh(connected: Connected) -> None:
    """One user, one correlation id, six services: each step uses what the one before gave, and the log tells the whole story."""
    mesh, correlation = connected.mesh, f"life-{uuid.uuid4()}"
    async with mesh.rest(headers={"x-correlation-id": correlation}) as client:
        await _connect(client)
        chosen = await post(client, "providers/select", {"query": "teach me", "focusArea": "python", "userId": USER})
        session = await _say(client, "start a python training with 3 rounds")
        await _finish(client, session)
        await _spend(client, chosen)
        await _read(client)
        badges = await eventually(lambda: get(client, "badges/earned", userId=USER), lambda it: len(it["badges"]) >= 2)
    await _team_knows(connected, "Budget lovelace has reached 100 %", "lovelace has earned the badge First Steps")
    await _story(mesh, correlation, {each["eventId"] for each in badges["badges"]})


async def _connect(client: httpx.AsyncClient) -> None:
    begun = await post(client, "oauth/authorize", {"userId": USER, "provider": "oidc"})
    page = await client.get(await oidc.consent(begun["authorizationUrl"], USER))
    assert "<h1>Connected</h1>" in page.text


async def _say(client: httpx.AsyncClient, text: str) -> Json:
    """Says it; gives the session that the bound workflow opened."""
    await post(client, "workflows", WORKFLOW)
    await post(client, "intent/bind", {"name": "start_training", "workflowId": WORKFLOW["workflowId"]})
    read = await post(client, "intent/analyze", {"userId": USER, "text": text})
    runs = await eventually(
        lambda: get(client, "runs", intentId=read["intentId"]),
        lambda it: bool(it["runs"]) and it["runs"][0]["state"] == "RUN_STATE_SUCCEEDED",
    )
    nodes = (await get(client, f"runs/{runs['runs'][0]['runId']}"))["run"]["nodes"]
    session: Json = nodes[0]["output"]
    return session


async def _finish(client: httpx.AsyncClient, session: Json) -> None:
    """Answers every round of the session."""
    round_id, answer = session["roundId"], {}
    while round_id:
        feedback = {"userId": USER, "sessionId": session["sessionId"], "roundId": round_id, "score": 1}
        answer = await post(client, "coach/feedback", feedback)
        round_id = answer["nextRoundId"]
    assert answer["session"]["roundCount"] == 3


async def _spend(client: httpx.AsyncClient, chosen: Json) -> None:
    """A call of the chosen model spends the user's whole budget."""
    limit = {"currencyCode": "USD", "units": "1"}
    budget = {"budgetId": USER, "displayName": USER, "scope": {"userId": USER}, "limit": limit, "thresholds": [100]}
    await post(client, "budget/set", {"budget": budget})
    usage = {"providerId": chosen["providerId"], "model": chosen["model"], "inputTokens": 1000, "outputTokens": 1000}
    await post(client, "budget/track", {**usage, "selectionId": chosen["selectionId"], "userId": USER, "cost": limit})


async def _read(client: httpx.AsyncClient) -> None:
    """Reads a repository at GitHub and one on this machine."""
    synced = await post(client, "github/sync", {"owner": github.OWNER, "repo": github.REPO})
    assert synced["repository"]["headSha"] == github.HEAD
    indexed = await post(client, "context/analyze", {"path": "services/learning", "repoId": "lovelace"})
    assert int(indexed["repository"]["files"]) > 0


async def _team_knows(connected: Connected, *parts: str) -> None:
    """Waits until Slack was told all of this, once each."""

    async def counts() -> list[int]:
        texts = [event["data"]["text"] for event in await connected.mesh.events("slack.sent")]
        return [sum(part in text for text in texts) for part in parts]

    assert await eventually(counts, all) == [1] * len(parts)
    posted = [body["text"] for body in connected.slack.posted]
    assert [sum(part in text for text in posted) for part in parts] == [1] * len(parts)


async def _life(channel: grpc.aio.Channel, correlation: str) -> list[Event]:
    """What stands in the log of a life by now; every service tells its part in its own time."""
    wanted = EventFilter(types=["*"], cel=f"correlation_id == '{correlation}'")
    return list((await EventBusStub(channel).ReadEvents(ReadEventsRequest(page_size=1000, filter=wanted))).events)


async def _story(mesh: Mesh, correlation: str, earned_by: set[str]) -> None:
    """Every event of the life has its correlation id, and every cause is an earlier event of the same life."""
    async with mesh.channel("bus") as own_port:
        life = await eventually(lambda: _life(own_port, correlation), lambda events: {event.type for event in events} >= TOLD)
    position = {event.id: event.position for event in life}
    of_type = {event.type: event for event in life}
    assert all(position[event.causation_id] < event.position for event in life if event.causation_id)
    assert of_type["dag.started"].causation_id == of_type["intent.classified"].id
    assert {event.causation_id for event in life if event.type == "badge.earned"} >= earned_by
    async with mesh.channel() as door:
        badges = (await AnalyticsServiceStub(door).ListEarnedBadges(ListEarnedBadgesRequest(user_id=USER))).badges
    assert {badge.event_id for badge in badges} == earned_by
