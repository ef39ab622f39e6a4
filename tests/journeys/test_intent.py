"""Intent: what a user says is understood, and starts the workflow that is bound to it."""

from tooloo.learning.v1.learning_service_pb2 import GetSessionRequest
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub
from tooloo.orchestration.v1.orchestration_service_pb2 import GetRunRequest
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub
from tooloo.orchestration.v1.run_pb2 import RUN_STATE_SUCCEEDED

from tests.journeys.steps import all_heard, get, post, told
from tests.support.mesh import Mesh, eventually

USER = "ada.says"
TRAINING = {
    "id": "start",
    "call": "tooloo.learning.v1.LearningService/StartTraining",
    "input": {
        "userId": "${input.userId}",
        "focusArea": "${input.slots.focusArea:-python}",
        "roundCount": "${input.slots.count:-1}",
    },
}
LOGGED = {
    "id": "log",
    "call": "tooloo.analytics.v1.AnalyticsService/LogMetric",
    "input": {
        "name": "rounds_wanted",
        "value": "${nodes.start.output.session.roundCount}",
        "labels": {"session": "${nodes.start.output.sessionId}"},
    },
}


async def test_a_bound_intent_runs_its_workflow(mesh: Mesh) -> None:
    """A sentence becomes a run: values found in the text go into the first call, that call's answer into the second."""
    async with mesh.rest() as client:
        await post(client, "workflows", {"workflowId": "train-by-words", "dag": {"nodes": [TRAINING, LOGGED]}})
        await post(client, "intent/bind", {"name": "start_training", "workflowId": "train-by-words", "minConfidence": 0.5})
        read = await post(client, "intent/analyze", {"userId": USER, "text": "start a python training with 4 rounds"})
        assert (read["name"], read["outOfScope"], read["workflowId"]) == ("start_training", False, "train-by-words")
        assert read["slots"] == {"focusArea": "python", "count": 4}
        runs = await eventually(
            lambda: get(client, "runs", intentId=read["intentId"]),
            lambda it: bool(it["runs"]) and it["runs"][0]["state"] != "RUN_STATE_RUNNING",
        )
        (run,) = runs["runs"]
        assert (run["state"], run["userId"], run["workflowVersion"]) == ("RUN_STATE_SUCCEEDED", USER, 1)

    async with mesh.channel("orchestration") as own_port, mesh.channel() as door:
        done = (await OrchestrationServiceStub(own_port).GetRun(GetRunRequest(run_id=run["runId"]))).run
        assert done.state == RUN_STATE_SUCCEEDED
        session_id = done.nodes[0].output["sessionId"]
        assert isinstance(session_id, str)
        session = (await LearningServiceStub(door).GetSession(GetSessionRequest(user_id=USER, session_id=session_id))).session
    assert (session.focus_area, session.round_count) == ("python", 4)
    (logged,) = await told(mesh, "metric.logged", name="rounds_wanted", labels={"session": session_id})
    assert logged["data"]["value"] == 4
    (classified,) = await told(mesh, "intent.classified", intentId=read["intentId"])
    (started,) = await told(mesh, "dag.started", intentId=read["intentId"])
    assert started["causationId"] == classified["id"]
    assert started["correlationId"] == classified["correlationId"] == logged["correlationId"]


async def test_what_is_not_bound_or_not_understood_starts_nothing(mesh: Mesh) -> None:
    """After unbinding, and for words outside of every intent, no run comes, though both are told."""
    async with mesh.rest() as client:
        await post(client, "intent/bind", {"name": "start_training", "workflowId": ""})
        for text in ("start a python training with 4 rounds", "the soup needs more salt and a bay leaf"):
            read = await post(client, "intent/analyze", {"userId": "grace.says", "text": text})
            assert read["workflowId"] == ""
            await told(mesh, "intent.classified", intentId=read["intentId"])
        assert read["outOfScope"] is True
        await all_heard(mesh, "orchestration")
        assert (await get(client, "runs", userId="grace.says"))["runs"] == []
