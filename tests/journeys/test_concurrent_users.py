"""Concurrent users: twenty at once, each with their own journey, and nobody sees anything of another."""

import asyncio

import httpx
from tooloo.learning.v1.learning_service_pb2 import GetTrainingOverviewRequest
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub

from tests.journeys.steps import Json, all_heard, get, post, train
from tests.support.mesh import Mesh

USERS = [f"user{number:02}.crowd" for number in range(20)]


async def _journey(client: httpx.AsyncClient, user: str, rounds: int) -> Json:
    """Trains `rounds` rounds, spends as many cents, runs a DAG; gives what only this user may see again."""
    session = (await train(client, user, "python", [1.0] * rounds))["sessionId"]
    usage = {"providerId": "openai", "model": "gpt-5-mini", "inputTokens": 100 * rounds, "outputTokens": 0, "userId": user}
    await post(client, "budget/track", {**usage, "cost": {"currencyCode": "USD", "nanos": rounds * 10_000_000}})
    node = {"id": "mine", "call": "tooloo.learning.v1.LearningService/ListMastery", "input": {"userId": "${input.userId}"}}
    run = await post(client, "dag/execute", {"userId": user, "dag": {"nodes": [node]}, "input": {"userId": user}, "wait": "30s"})
    return {"session": session, "run": run["runId"]}


async def test_twenty_users_at_once_see_only_their_own(mesh: Mesh) -> None:
    """Each finds exactly what they did; another's session is not found, whether it exists or not."""
    rounds = {user: 1 + number % 4 for number, user in enumerate(USERS)}
    async with mesh.rest(limits=httpx.Limits(max_connections=40)) as client:
        made = dict(
            zip(USERS, await asyncio.gather(*(_journey(client, user, count) for user, count in rounds.items())), strict=True)
        )
        await asyncio.gather(*(_sees_only_own(client, user, rounds[user], made[user]) for user in USERS))
        await asyncio.gather(
            *(_cannot_see(client, user, made[other]["session"]) for user, other in zip(USERS, USERS[1:] + USERS[:1], strict=True))
        )
        await all_heard(mesh, "analytics")
        for user, count in rounds.items():
            badges = {each["badgeId"] for each in (await get(client, "badges/earned", userId=user))["badges"]}
            assert ("flawless" in badges) == (count >= 3), user

    async with mesh.channel("learning") as own_port:
        stub = LearningServiceStub(own_port)
        for user, count in rounds.items():
            overview = await stub.GetTrainingOverview(GetTrainingOverviewRequest(user_id=user))
            assert overview.rounds_completed == count
            assert {session.session_id for session in overview.recent_sessions} == {made[user]["session"]}


async def _sees_only_own(client: httpx.AsyncClient, user: str, rounds: int, made: Json) -> None:
    overview = await get(client, "training/overview", userId=user)
    assert overview["sessions"] == {"open": 0, "completed": 1}
    assert [each["sessionId"] for each in overview["recentSessions"]] == [made["session"]]
    assert {each["sessionId"] for each in overview["recentRounds"]} == {made["session"]}
    total = (await get(client, "budget/report", userId=user))["total"]
    assert (total["cost"]["nanos"], total["inputTokens"], total["calls"]) == (rounds * 10_000_000, str(100 * rounds), "1")
    assert [each["runId"] for each in (await get(client, "runs", userId=user))["runs"]] == [made["run"]]
    (mine,) = (await get(client, f"runs/{made['run']}"))["run"]["nodes"]
    assert sum(skill["reviews"] for skill in mine["output"]["skills"]) == rounds


async def _cannot_see(client: httpx.AsyncClient, user: str, session: str) -> None:
    answer = await client.get(f"/api/v1/training/sessions/{session}", params={"userId": user})
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "RESOURCE_NOT_FOUND")
    body = {"userId": user, "sessionId": session, "roundId": session, "score": 0}
    assert (await client.post("/api/v1/coach/feedback", json=body)).status_code == 404
