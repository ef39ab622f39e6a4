"""Intents and workflows over the real server: classify, bind, start the bound workflow once, versions, refusals."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from tooloo.orchestration.v1 import dag_pb2, run_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2 as told
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb

from tests.integration.orchestration_bench import START, Bench, running

TEXT = "I want to practice python for 30 minutes"
TRAIN = {
    "nodes": [
        {"id": "start", "call": START, "input": {"userId": "${input.userId}", "focusArea": "${input.slots.focusArea:-anything}"}},
    ]
}


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A running service; its classifier may still be in training on a fresh machine, so callers may wait long."""
    async with running(tmp_path, classifier_wait="5m") as made:
        yield made


def _dag(document: dict[str, Any] = TRAIN) -> dag_pb2.Dag:
    return json_format.ParseDict(document, dag_pb2.Dag())


async def _create(bench: Bench, workflow_id: str = "train", **fields: Any) -> pb.CreateWorkflowResponse:
    return await bench.stub.CreateWorkflow(pb.CreateWorkflowRequest(workflow_id=workflow_id, dag=_dag(), **fields))


async def _code(awaitable: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await awaitable
    return refused.value.code()


async def test_analyze_intent(bench: Bench) -> None:
    """A text gets its intent, its slots, a confidence and an event that says the same."""
    answer = await bench.stub.AnalyzeIntent(pb.AnalyzeIntentRequest(user_id="ada", text=TEXT))
    assert (answer.name, answer.out_of_scope, answer.workflow_id) == ("start_training", False, "")
    assert answer.confidence > 0.8
    assert json_format.MessageToDict(answer.slots) == {"focusArea": "python", "duration": "1800s"}
    assert len(answer.alternatives) == 3
    (event,) = await bench.told("intent.classified")
    assert (event.intent_id, event.user_id, event.text, event.name) == (answer.intent_id, "ada", TEXT, "start_training")
    assert event.slots == answer.slots


async def test_out_of_scope(bench: Bench) -> None:
    """What is none of the intents says so, has no name, and starts nothing even when everything is bound."""
    await _create(bench)
    for intent in (await bench.stub.ListIntents(pb.ListIntentsRequest())).intents:
        await bench.stub.BindIntent(pb.BindIntentRequest(name=intent.name, workflow_id="train"))
    answer = await bench.stub.AnalyzeIntent(pb.AnalyzeIntentRequest(user_id="ada", text="how tall is mount everest"))
    assert (answer.name, answer.out_of_scope, answer.workflow_id) == ("", True, "")
    for event in await bench.running.told():
        await bench.running.hear_event(event)
    assert not (await bench.stub.ListRuns(pb.ListRunsRequest())).runs


async def test_a_bound_intent_starts_its_workflow_once(bench: Bench) -> None:
    """The classification is heard twice, the workflow runs once, with the slots as its input."""
    await _create(bench)
    bound = await bench.stub.BindIntent(pb.BindIntentRequest(name="start_training", workflow_id="train", min_confidence=0.5))
    assert (bound.intent.workflow_id, bound.intent.min_confidence) == ("train", 0.5)
    answer = await bench.stub.AnalyzeIntent(pb.AnalyzeIntentRequest(user_id="ada", text=TEXT))
    assert answer.workflow_id == "train"
    event = next(event for event in await bench.running.told() if event.type == "intent.classified")
    assert await bench.running.hear_event(event)
    assert not await bench.running.hear_event(event)
    (run,) = (await bench.stub.ListRuns(pb.ListRunsRequest(intent_id=answer.intent_id))).runs
    ended = await bench.run_ended(run.run_id)
    assert (ended.state, ended.workflow_id, ended.workflow_version, ended.user_id) == (
        run_pb2.RUN_STATE_SUCCEEDED,
        "train",
        1,
        "ada",
    )
    assert bench.far.calls["python"] == 1
    (started,) = await bench.told("dag.started")
    assert started.intent_id == answer.intent_id
    correlations = {event.correlation_id for event in await bench.running.told()}
    assert len(correlations) == 1


async def test_too_little_confidence_starts_nothing(bench: Bench) -> None:
    """Below the binding's confidence, and for an intent that is not bound, nothing is started."""
    await _create(bench)
    await bench.stub.BindIntent(pb.BindIntentRequest(name="start_training", workflow_id="train", min_confidence=0.9))
    for name, confidence in (("start_training", 0.89), ("greeting", 1.0)):
        heard = told.IntentClassified(intent_id=str(uuid4()), user_id="ada", text="x", name=name, confidence=confidence)
        assert await bench.running.hear(heard)
    assert not (await bench.stub.ListRuns(pb.ListRunsRequest())).runs


async def test_the_same_request_id_is_the_same_classification(bench: Bench) -> None:
    """A repeat tells nothing again."""
    request = pb.AnalyzeIntentRequest(user_id="ada", text=TEXT, request_id=str(uuid4()))
    assert await bench.stub.AnalyzeIntent(request) == await bench.stub.AnalyzeIntent(request)
    assert len(await bench.told("intent.classified")) == 1


async def test_list_intents(bench: Bench) -> None:
    """The intents are listed by name with examples, binding and how good the classifier is."""
    await bench.stub.AnalyzeIntent(pb.AnalyzeIntentRequest(user_id="ada", text=TEXT))
    answer = await bench.stub.ListIntents(pb.ListIntentsRequest())
    names = [intent.name for intent in answer.intents]
    assert names == sorted(names)
    assert {"start_training", "schedule_task", "greeting"} <= set(names)
    assert all(intent.example_count >= 20 and intent.description for intent in answer.intents)
    assert answer.classifier == "ready"
    assert 0.8 < answer.held_out_accuracy < 1


async def test_binding_refusals(bench: Bench) -> None:
    """Unknown intents and workflows are not found; a bound workflow cannot be deleted until it is unbound."""
    await _create(bench)
    assert (
        await _code(bench.stub.BindIntent(pb.BindIntentRequest(name="fly_to_the_moon", workflow_id="train")))
        == grpc.StatusCode.NOT_FOUND
    )
    assert (
        await _code(bench.stub.BindIntent(pb.BindIntentRequest(name="greeting", workflow_id="gone"))) == grpc.StatusCode.NOT_FOUND
    )
    await bench.stub.BindIntent(pb.BindIntentRequest(name="greeting", workflow_id="train"))
    delete = pb.DeleteWorkflowRequest(workflow_id="train")
    assert await _code(bench.stub.DeleteWorkflow(delete)) == grpc.StatusCode.FAILED_PRECONDITION
    unbound = await bench.stub.BindIntent(pb.BindIntentRequest(name="greeting"))
    assert unbound.intent.workflow_id == ""
    await bench.stub.DeleteWorkflow(delete)
    assert await _code(bench.stub.DeleteWorkflow(delete)) == grpc.StatusCode.NOT_FOUND


async def test_a_classifier_that_is_not_ready_asks_to_wait(tmp_path: Path) -> None:
    """While it is in training, callers are told to come back; everything else works."""
    async with running(tmp_path, classifier_wait="1ms", model_folder=str(tmp_path / "models")) as bench:
        assert (
            await _code(bench.stub.AnalyzeIntent(pb.AnalyzeIntentRequest(user_id="ada", text=TEXT))) == grpc.StatusCode.UNAVAILABLE
        )
        assert (await bench.stub.ListIntents(pb.ListIntentsRequest())).classifier == "training"


async def test_workflow_versions(bench: Bench) -> None:
    """Another definition is another version, the same definition is none; each version stays as it was."""
    first = (await _create(bench)).workflow
    same = (await _create(bench)).workflow
    second = (await _create(bench, description="now with a description")).workflow
    assert [workflow.version for workflow in (first, same, second)] == [1, 1, 2]
    newest = (await bench.stub.GetWorkflow(pb.GetWorkflowRequest(workflow_id="train"))).workflow
    assert newest == second
    assert (await bench.stub.GetWorkflow(pb.GetWorkflowRequest(workflow_id="train", version=1))).workflow == first
    assert await _code(bench.stub.GetWorkflow(pb.GetWorkflowRequest(workflow_id="train", version=3))) == grpc.StatusCode.NOT_FOUND


async def test_versions_go_on_after_a_deletion(bench: Bench) -> None:
    """While a run names a version of a workflow that was deleted, no other definition gets that version."""
    for description in ("one", "two"):
        await _create(bench, description=description)
    run_id = (await bench.stub.ExecuteDag(pb.ExecuteDagRequest(workflow_id="train"))).run_id
    await bench.stub.DeleteWorkflow(pb.DeleteWorkflowRequest(workflow_id="train"))
    anew = (await _create(bench, description="another")).workflow
    run = await bench.run_ended(run_id)
    assert (run.workflow_version, anew.version) == (2, 3)
    assert await _code(bench.stub.GetWorkflow(pb.GetWorkflowRequest(workflow_id="train", version=2))) == grpc.StatusCode.NOT_FOUND


async def test_workflows_are_listed_by_id(bench: Bench) -> None:
    """Pages give every workflow once, in its newest version, without its DAG; one without an id gets one."""
    for name in ("b", "a", "c"):
        await _create(bench, name)
    await _create(bench, "a", description="newer")
    made = (await _create(bench, "")).workflow.workflow_id
    first = await bench.stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=3))
    second = await bench.stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=3, page_token=first.next_page_token))
    listed = [*first.workflows, *second.workflows]
    assert [workflow.workflow_id for workflow in listed] == sorted(["a", "b", "c", made])
    assert {workflow.workflow_id: workflow.version for workflow in listed}["a"] == 2
    assert not any(workflow.HasField("dag") for workflow in listed)
    assert second.next_page_token == ""
    whole = await bench.stub.ListWorkflows(pb.ListWorkflowsRequest(page_size=4))
    assert (len(whole.workflows), whole.next_page_token) == (4, "")


async def test_a_workflow_can_be_executed(bench: Bench) -> None:
    """ExecuteDag takes a workflow in the place of a DAG, but not both and not neither."""
    await _create(bench)
    request = json_format.ParseDict({"workflowId": "train", "input": {"userId": "ada"}, "wait": "10s"}, pb.ExecuteDagRequest())
    assert (await bench.stub.ExecuteDag(request)).state == run_pb2.RUN_STATE_SUCCEEDED
    assert bench.far.calls["anything"] == 1
    assert await _code(bench.stub.ExecuteDag(pb.ExecuteDagRequest())) == grpc.StatusCode.INVALID_ARGUMENT
    both = pb.ExecuteDagRequest(workflow_id="train", dag=_dag())
    assert await _code(bench.stub.ExecuteDag(both)) == grpc.StatusCode.INVALID_ARGUMENT
    assert await _code(bench.stub.ExecuteDag(pb.ExecuteDagRequest(workflow_id="gone"))) == grpc.StatusCode.NOT_FOUND


async def test_workflows_are_limited(tmp_path: Path) -> None:
    """Past the setting, no further version is kept."""
    async with running(tmp_path, max_workflows="1") as bench:
        await _create(bench)
        assert await _code(_create(bench, "another")) == grpc.StatusCode.RESOURCE_EXHAUSTED
