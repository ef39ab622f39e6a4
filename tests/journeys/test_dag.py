"""DAG: branches run side by side, a failing node stops only what depends on it, later nodes use earlier answers."""

import json
import uuid
from datetime import datetime
from typing import Any

from tooloo.orchestration.v1.orchestration_service_pb2 import GetRunRequest, WatchRunRequest
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub
from tooloo.orchestration.v1.run_pb2 import RUN_STATE_FAILED

from tests.journeys.steps import Json, get, post, told
from tests.support.mesh import Mesh

USER = "ada.runs"
LEARNING, PROVIDER = "tooloo.learning.v1.LearningService", "tooloo.provider.v1.ProviderService"


def _node(node_id: str, call: str, depends_on: tuple[str, ...] = (), **fields: Any) -> Json:
    return {"id": node_id, "call": call, "dependsOn": list(depends_on), "input": fields}


NODES = [
    _node("start", f"{LEARNING}/StartTraining", userId="${input.userId}", focusArea="python", roundCount=1),
    _node("select", f"{PROVIDER}/SelectProvider", query="go", focusArea="python", userId="${input.userId}", estimatedTokens=500),
    _node("missing", f"{LEARNING}/GetSession", userId="${input.userId}", sessionId=str(uuid.UUID(int=1))),
    _node("orphan", f"{LEARNING}/GetTrainingOverview", userId="${nodes.missing.output.session.userId}"),
    _node("grandchild", f"{LEARNING}/ListMastery", ("orphan",), userId="${input.userId}"),
    _node(
        "score",
        f"{LEARNING}/GiveCoachFeedback",
        userId="${input.userId}",
        sessionId="${nodes.start.output.sessionId}",
        roundId="${nodes.start.output.roundId}",
        score=0.9,
        comment="in run ${run.id}",
    ),
    _node(
        "spend",
        f"{PROVIDER}/TrackBudget",
        providerId="${nodes.select.output.providerId}",
        model="${nodes.select.output.model}",
        selectionId="${nodes.select.output.selectionId}",
        userId="${input.userId}",
        inputTokens=400,
        outputTokens=100,
    ),
    _node(
        "log",
        "tooloo.analytics.v1.AnalyticsService/LogMetric",
        ("spend",),
        name="mean_score",
        value="${nodes.score.output.session.meanScore}",
        labels={"run": "${run.id}"},
    ),
]
WANTED = {
    "missing": "NODE_STATE_FAILED",
    "orphan": "NODE_STATE_SKIPPED",
    "grandchild": "NODE_STATE_SKIPPED",
    **dict.fromkeys(("start", "select", "score", "spend", "log"), "NODE_STATE_SUCCEEDED"),
}


async def test_a_failing_node_stops_only_its_own_branch(mesh: Mesh) -> None:
    """One of three branches fails: its dependents are skipped, the others run to their end and join with each other's answers."""
    async with mesh.rest() as client:
        run = await post(client, "dag/execute", {"dag": {"nodes": NODES}, "input": {"userId": USER}, "userId": USER, "wait": "30s"})
        nodes = {node["id"]: node for node in run["nodes"]}
        assert {name: node["state"] for name, node in nodes.items()} == WANTED
        assert run["state"] == "RUN_STATE_FAILED"
        assert "node missing failed: NOT_FOUND" in run["reason"]
        assert nodes["missing"]["error"]["reason"] == "RESOURCE_NOT_FOUND"
        assert nodes["missing"]["attempts"] == 1, "what cannot succeed is not tried again"
        assert sorted(nodes["log"]["dependsOn"]) == ["score", "spend"], "references are dependencies too"
        roots = [nodes[name] for name in ("start", "select", "missing")]
        began, ended = ([_time(root[name]) for root in roots] for name in ("startTime", "endTime"))
        assert max(began) <= min(ended), "all began before one ended"

        last = await _last_of_stream(mesh, run["runId"])
        assert {node["id"]: node["state"] for node in last["run"]["nodes"]} == WANTED
        overview = await get(client, "training/overview", userId=USER)
        assert overview["recentRounds"][0]["comment"] == f"in run {run['runId']}"
        spent = await get(client, "budget/report", userId=USER)
        assert spent["total"]["cost"] == nodes["spend"]["output"]["cost"]
    await _same_by_grpc(mesh, run["runId"])
    await _told_once(mesh, run["runId"])


def _time(text: str) -> datetime:
    """As text, times compare only when they have as many digits."""
    return datetime.fromisoformat(text)


async def _last_of_stream(mesh: Mesh, run_id: str) -> Json:
    """The last message of the run's SSE stream."""
    last: Json = {}
    accept = {"accept": "text/event-stream"}
    async with mesh.rest(headers=accept) as client, client.stream("GET", f"/api/v1/runs/{run_id}/watch") as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                last = json.loads(line.removeprefix("data:"))
    assert last["final"] is True
    return last


async def _same_by_grpc(mesh: Mesh, run_id: str) -> None:
    async with mesh.channel("orchestration") as own_port, mesh.channel() as door:
        run = (await OrchestrationServiceStub(own_port).GetRun(GetRunRequest(run_id=run_id))).run
        assert run.state == RUN_STATE_FAILED
        assert [node.id for node in run.nodes] == [node["id"] for node in NODES]
        watched = [message async for message in OrchestrationServiceStub(door).WatchRun(WatchRunRequest(run_id=run_id))]
    assert watched[-1].final


async def _told_once(mesh: Mesh, run_id: str) -> None:
    (ended,) = await told(mesh, "dag.completed", runId=run_id)
    counts = ended["data"]["succeededNodes"], ended["data"]["failedNodes"], ended["data"]["skippedNodes"]
    assert counts == (5, 1, 2)
    (failed,) = await told(mesh, "dag.node.failed", runId=run_id)
    assert sorted(failed["data"]["skipped"]) == ["grandchild", "orphan"]
    (logged,) = await told(mesh, "metric.logged", name="mean_score", labels={"run": run_id})
    assert logged["data"]["value"] == 0.9
    assert logged["correlationId"] == ended["correlationId"], "what a node's call tells belongs to the run"
    done = await told(mesh, "dag.node.completed", 5, runId=run_id)
    order = [event["data"]["nodeId"] for event in done]
    assert order.index("start") < order.index("score") < order.index("log")
    assert order.index("select") < order.index("spend") < order.index("log")


async def test_a_faulty_dag_is_refused_with_every_problem(mesh: Mesh) -> None:
    """A cycle, a dangling dependency and an unknown call are named at once, and nothing runs."""
    cycle = [
        _node("a", f"{LEARNING}/ListMastery", ("b",), userId="ada"),
        _node("b", f"{LEARNING}/ListMastery", ("a",), userId="ada"),
        _node("c", f"{LEARNING}/ListMastery", ("nobody",), userId="ada"),
        _node("d", f"{LEARNING}/NoSuchCall"),
    ]
    async with mesh.rest() as client:
        answer = await client.post("/api/v1/dag/execute", json={"dag": {"nodes": cycle}, "userId": "grace.runs"})
        assert answer.status_code == 400
        described = [part["description"] for detail in answer.json()["details"] for part in detail.get("fieldViolations", [])]
        for part in ("a -> b -> a", "nobody", "NoSuchCall"):
            assert any(part in description for description in described), (part, described)
        assert (await get(client, "runs", userId="grace.runs"))["runs"] == []
