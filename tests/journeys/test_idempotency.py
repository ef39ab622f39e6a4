"""Idempotency: the same Idempotency-Key gives the same answer and one effect, however often and at whatever moment it comes."""

import asyncio
import uuid

import pytest
from tooloo.learning.v1.learning_service_pb2 import StartTrainingRequest
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub

from tests.journeys.steps import Json, all_heard, get, kill_and_await, post, told
from tests.support.mesh import Mesh

USER = "ada.repeats"
LOG = {"id": "log", "call": "tooloo.analytics.v1.AnalyticsService/LogMetric", "input": {"name": "repeated_run", "value": 1}}
# path, body, the event that it tells, and fields of that event which name it
WRITES: list[tuple[str, Json, str, Json]] = [
    ("training/start", {"userId": USER, "focusArea": "python", "roundCount": 1}, "training.started", {"userId": USER}),
    ("providers/select", {"userId": USER, "query": "again"}, "provider.selected", {"userId": USER}),
    ("analytics/log", {"name": "repeated_metric", "value": 1}, "metric.logged", {"name": "repeated_metric"}),
    ("intent/analyze", {"userId": USER, "text": "hello"}, "intent.classified", {"userId": USER}),
    (
        "dag/execute",
        {"userId": USER, "dag": {"nodes": [LOG]}, "wait": "20s"},
        "metric.logged",
        {"name": "repeated_run"},
    ),
    (
        "task/schedule",
        {"userId": USER, "name": "once a year", "schedule": {"cron": "0 0 1 1 *"}, "dag": {"nodes": [LOG]}},
        "task.scheduled",
        {"userId": USER},
    ),
    ("context/analyze", {"path": "mesh/schema", "repoId": "repeated"}, "context.indexed", {"repoId": "repeated"}),
]


@pytest.mark.parametrize(("path", "body", "event_type", "data"), WRITES, ids=[path for path, *_ in WRITES])
async def test_a_repeat_gets_the_first_answer(mesh: Mesh, path: str, body: Json, event_type: str, data: Json) -> None:
    """Two at the same moment and one later are answered alike, and told once."""
    key = str(uuid.uuid4())
    async with mesh.rest() as client:
        first, second = await asyncio.gather(*(post(client, path, body, idempotency_key=key) for _ in range(2)))
        assert first == second
        await told(mesh, event_type, **data)
        assert await post(client, path, body, idempotency_key=key) == first
        # outboxes keep their order: a repeat's event would stand before those of the calls that follow
        await all_heard(mesh, "analytics")
        await told(mesh, event_type, **data)


async def test_money_is_spent_once_over_a_crash(mesh: Mesh) -> None:
    """The answer is kept with the effect, so a repeat after kill -9 finds both."""
    key, user = str(uuid.uuid4()), "grace.repeats"
    usage = {"providerId": "openai", "model": "gpt-5-mini", "inputTokens": 1000, "outputTokens": 0, "userId": user}
    async with mesh.rest() as client:
        first = await post(client, "budget/track", usage, idempotency_key=key)
        await kill_and_await(mesh, "provider")
        assert await post(client, "budget/track", usage, idempotency_key=key) == first
        assert (await get(client, "budget/report", userId=user))["total"]["calls"] == "1"


async def test_a_key_belongs_to_one_request(mesh: Mesh) -> None:
    """The same key for something else is refused; the header and the field request_id are the same thing."""
    key = str(uuid.uuid4())
    body = {"userId": "alan.repeats", "focusArea": "sql", "roundCount": 1}
    async with mesh.rest() as client:
        first = await post(client, "training/start", body, idempotency_key=key)
        other = await client.post("/api/v1/training/start", json={**body, "roundCount": 2}, headers={"idempotency-key": key})
        assert (other.status_code, other.json()["details"][0]["reason"]) == (409, "REQUEST_ID_REUSED")
    async with mesh.channel("learning") as own_port:
        request = StartTrainingRequest(user_id="alan.repeats", focus_area="sql", round_count=1, request_id=key)
        again = await LearningServiceStub(own_port).StartTraining(request)
    assert (again.session_id, again.round_id) == (first["sessionId"], first["roundId"])
