"""Journey 10: each process is killed in the middle of a journey; the journey goes on, nothing is lost and nothing happens twice."""

import asyncio
import contextlib
import os
import signal
import uuid
from typing import Any

import httpx
import pytest

from mesh.catalogue import SERVICES
from tests.journeys.steps import whole
from tests.support.mesh import Mesh, eventually

VICTIMS = [*(spec.name for spec in SERVICES if spec.module), "envoy"]


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A call as a careful caller makes it: the same key again until it is answered."""
    key = str(uuid.uuid4())

    async def once() -> httpx.Response | None:
        try:
            return await client.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return None

    answer = await eventually(once, lambda got: got is not None and got.status_code not in {502, 503, 504}, 60)
    assert answer is not None
    return dict(answer.raise_for_status().json())


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_training_survives_the_death_of_any_process(mesh: Mesh, victim: str) -> None:
    """A session with feedback before and after the kill completes once, with one event for each thing that happened."""
    user = f"midway-{victim}"
    async with mesh.rest() as client:
        started = await _post(client, "/api/v1/training/start", {"userId": user, "focusArea": "sql", "roundCount": 3})
        round_id = started["roundId"]
        for number in range(3):
            if number == 1:
                await mesh.kill(victim)
            body = {"userId": user, "sessionId": started["sessionId"], "roundId": round_id, "score": 0.9, "comment": "good"}
            answer = await _post(client, "/api/v1/coach/feedback", body)
            round_id = answer.get("nextRound", {}).get("roundId", "")

        async def told() -> list[str]:
            events = await mesh.events("training.started", "training.completed", "coach.feedback.given")
            return sorted(event["type"] for event in events if event["data"].get("userId") == user)

        expected = ["coach.feedback.given"] * 3 + ["training.completed", "training.started"]
        await eventually(told, lambda types: types == expected, 60)

        async def badges() -> list[str]:
            answer = (await client.get("/api/v1/badges/earned", params={"userId": user})).raise_for_status().json()
            return [badge["badgeId"] for badge in answer["badges"]]

        earned = await eventually(badges, lambda ids: "first-training" in ids, 60)
        assert len(earned) == len(set(earned))
    await whole(mesh)


async def test_a_run_goes_on_after_its_engine_was_killed(mesh: Mesh) -> None:
    """A DAG whose engine dies in the middle ends, and no node that had finished was called again."""
    user = "midway-dag"
    start = "tooloo.learning.v1.LearningService/StartTraining"
    body = {"userId": user, "focusArea": "git", "roundCount": 1}
    nodes = [{"id": f"n{i}", "call": start, "input": body, "dependsOn": [f"n{i - 1}"] if i else []} for i in range(8)]
    async with mesh.rest() as client:
        run = await _post(client, "/api/v1/dag/execute", {"dag": {"nodes": nodes}})
        for _ in range(2):
            await asyncio.sleep(0.05)
            pid = next(each["pid"] for each in await mesh.processes() if each["service"] == "orchestration")
            # 0, or gone already, while the next one is being started
            with contextlib.suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)

        async def state() -> str:
            answer = await client.get(f"/api/v1/runs/{run['runId']}")
            return str(answer.json().get("run", {}).get("state", ""))

        final = await eventually(state, lambda now: now.endswith(("SUCCEEDED", "FAILED", "COMPLETED")), 60)
        assert not final.endswith("FAILED")

        async def sessions() -> int:
            events = await mesh.events("training.started")
            return sum(event["data"].get("userId") == user for event in events)

        assert await eventually(sessions, lambda count: count >= len(nodes)) == len(nodes)
    await whole(mesh)
