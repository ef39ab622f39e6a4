"""Calls of nodes: what does not fit the contracts is told before a run, and nothing else is."""

from typing import Any

import pytest

from services.orchestration.dag import Dag, Node
from services.orchestration.workers.calls import CallFailed, make_request, problems

LOG = "tooloo.analytics.v1.AnalyticsService/LogMetric"
TRACK = "tooloo.provider.v1.ProviderService/TrackBudget"


def _fields(call: str, **values: Any) -> list[str]:
    return [problem.field for problem in problems(Dag((Node("a", call, values),)))]


@pytest.mark.parametrize(
    "values",
    [
        {"name": "x", "value": "${input.v}", "labels": {"run": "${run.id}", "kind": "test"}},
        {"name": "x", "value": 1, "labels": "${input.labels}"},
        {"name": "x-${run.id}", "value": 1},
    ],
    ids=["in a map", "for a map", "in a text"],
)
def test_a_reference_may_stand_wherever_a_value_may(values: dict[str, Any]) -> None:
    """What is not known yet is no fault, in a map either, though a map takes no null."""
    assert _fields(LOG, **values) == []


def test_a_name_that_the_request_does_not_have_is_told() -> None:
    """Also when its value is a reference, and also deep inside."""
    assert _fields(LOG, name="x", amount="${input.v}") == ["nodes[0].input"]
    assert _fields(TRACK, providerId="openai", model="m", cost={"unit": "${input.v}"}) == ["nodes[0].input"]


@pytest.mark.parametrize(
    "call",
    [
        "tooloo.learning.v1.LearningService/NoSuchCall",
        "tooloo.bus.v1.EventBus/Follow",
        "tooloo.orchestration.v1.OrchestrationService/ExecuteDag",
    ],
)
def test_only_unary_calls_that_start_no_runs_are_allowed(call: str) -> None:
    """Unknown, streaming and forbidden calls are told."""
    assert _fields(call) == ["nodes[0].call"]


def test_rules_of_fields_are_checked_when_all_is_known() -> None:
    """A request without references is held to the contract at once; one with a malformed reference is the DAG's problem."""
    assert _fields(LOG, name="no spaces allowed", value=1) == ["nodes[0].input.name"]
    assert _fields(LOG, name="${", value=1) == []


def test_a_call_that_the_mesh_has_no_more_says_so() -> None:
    """A workflow that was kept may name what another version of the mesh does not have: that is no defect."""
    with pytest.raises(CallFailed) as failed:
        make_request("tooloo.former.v1.FormerService/Call", {}, "")
    assert (failed.value.failure.code, "FormerService" in failed.value.failure.message) == ("UNIMPLEMENTED", True)


def test_a_call_that_starts_runs_is_not_made() -> None:
    """A workflow that was kept when a node could still retry runs fails at it: the two could go on for ever."""
    with pytest.raises(CallFailed) as failed:
        make_request("tooloo.orchestration.v1.OrchestrationService/RetryRun", {"runId": "${run.id}"}, "")
    assert failed.value.failure.code == "FAILED_PRECONDITION"
