"""What is done every morning: `python -m examples.assistant.morning USER now`, or `soon`, or a schedule such as "0 7 * * *"."""

import sys
from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from tooloo.orchestration.v1.dag_pb2 import Dag
from tooloo.orchestration.v1.orchestration_service_pb2 import ExecuteDagRequest, ScheduleTaskRequest
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub
from tooloo.orchestration.v1.run_pb2 import RunState
from tooloo.orchestration.v1.task_pb2 import Schedule

from examples.assistant.door import once, open_door

# each node is a call of the mesh; what a node asks for of another one's answer makes it wait for that
NODES = [
    {
        "id": "standing",
        "call": "tooloo.learning.v1.LearningService/GetTrainingOverview",
        "input": {"userId": "${run.userId}"},
    },
    {
        "id": "session",
        "call": "tooloo.learning.v1.LearningService/StartTraining",
        "input": {"userId": "${run.userId}", "focusArea": "python", "roundCount": 1},
    },
    {
        "id": "note",
        "call": "tooloo.analytics.v1.AnalyticsService/LogMetric",
        "input": {
            "name": "assistant.due_cards",
            "value": "${nodes.standing.output.workload.dueNow}",
            "labels": {"session": "${nodes.session.output.sessionId}"},
        },
    },
]
MORNING = ParseDict({"nodes": NODES}, Dag())


def now(door: grpc.Channel, user: str) -> None:
    """Runs it and waits for the end."""
    request = ExecuteDagRequest(request_id=once(), dag=MORNING, user_id=user, wait=Duration(seconds=20))
    run = OrchestrationServiceStub(door).ExecuteDag(request)
    print(RunState.Name(run.state), [node.id for node in run.nodes])


def later(door: grpc.Channel, user: str, schedule: Schedule) -> None:
    """Puts it on a schedule, which outlives every restart."""
    request = ScheduleTaskRequest(request_id=once(), name="morning", schedule=schedule, dag=MORNING, user_id=user)
    task = OrchestrationServiceStub(door).ScheduleTask(request)
    print("it fires at", task.next_fire_time.ToJsonString())


def schedule_of(words: str) -> Schedule:
    """Once in two seconds for "soon"; else five fields of cron."""
    if words != "soon":
        return Schedule(cron=words, time_zone="Europe/Berlin")
    schedule = Schedule()
    schedule.at.FromDatetime(datetime.now(UTC) + timedelta(seconds=2))
    return schedule


if __name__ == "__main__":
    with open_door() as channel:
        if sys.argv[2] == "now":
            now(channel, sys.argv[1])
        else:
            later(channel, sys.argv[1], schedule_of(sys.argv[2]))
