"""Orchestration: runs of two calls, a task that fires every second, intents that start a workflow; each call is applied once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from google.protobuf import json_format
from tooloo.orchestration.v1 import orchestration_events_pb2 as events
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import run_pb2
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub

from envoy.testing import free_ports
from mesh import errors, serving
from mesh.boundary import Boundary
from mesh.outbox import Fact
from mesh.settings import MeshSettings
from tests.integration.orchestration_bench import ENDED, FarService, start
from tests.robustness.matrix.scenario import Scenario

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceAsyncStub


_INTENT = "greeting"
_PAGE = 100


class Work(Scenario):
    """Callers who run DAGs, whose nodes call a service that now and then is busy."""

    task = ""

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """The service that nodes call, in the door's place."""
        self.far = FarService()
        self.runs: dict[str, int] = {}
        self.intents: list[str] = []
        (port,) = free_ports(1)
        server = serving.make_server(MeshSettings(), Boundary())
        server.add_generic_rpc_handlers((self.far.handlers(),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        stack.push_async_callback(server.stop, None)
        own = {"POLL_INTERVAL": "100ms", "NODE_BACKOFF": "50ms", "RUN_LEASE": "500ms", "NODE_ATTEMPTS": "10"}
        return {"TOOLOO_DOOR_PORT": str(port), **{f"TOOLOO_ORCHESTRATION_{name}": value for name, value in own.items()}}

    async def prepare(self) -> None:
        """A task, and a workflow that an intent is bound to."""
        call = self.stand.caller.call
        workflow = {"workflowId": "greet", "dag": {"nodes": [start("a", "greeted")]}, "requestId": self.request_id()}
        await call(self._stub.CreateWorkflow, json_format.ParseDict(workflow, pb.CreateWorkflowRequest()))
        await call(self._stub.BindIntent, pb.BindIntentRequest(name=_INTENT, workflow_id="greet", request_id=self.request_id()))
        task = {"name": "tick", "schedule": {"every": "1s"}, "dag": {"nodes": [start("a", "tick")]}, "requestId": self.request_id()}
        self.task = (await call(self._stub.ScheduleTask, json_format.ParseDict(task, pb.ScheduleTaskRequest()))).task_id

    async def work(self, number: int) -> None:
        """A run, one call of which is refused at first now and then."""
        if number % 3 == 0:
            self.far.refusals[f"b{number}"] = [errors.unavailable("disk")]
        nodes = [start("a", f"a{number}"), start("b", f"b{number}", "a")]
        request = {"dag": {"nodes": nodes}, "requestId": self.request_id()}
        answer = await self.stand.caller.call(self._stub.ExecuteDag, json_format.ParseDict(request, pb.ExecuteDagRequest()))
        self.runs[answer.run_id] = number

    def fact(self, number: int) -> tuple[str, Fact]:
        """A text was classified, here as if another replica had done it."""
        name = self.request_id()
        self.intents.append(name)
        message = events.IntentClassified(intent_id=name, user_id="ada", text="hi", name=_INTENT, confidence=0.99)
        return "orchestration", Fact(message, f"intents/{name}")

    async def read(self) -> None:
        """The tasks."""
        await self._stub.ListTasks(pb.ListTasksRequest(), timeout=60)

    async def ticks(self) -> int:
        """How often the task has fired."""
        return (await self._stub.GetTask(pb.GetTaskRequest(task_id=self.task), timeout=60, wait_for_ready=True)).task.fire_count

    async def broken(self) -> str:
        """No run is stuck, each that was acknowledged succeeded and was told once, each of its calls was applied once."""
        runs = {run.run_id: run for run in await self._all_runs()}
        if stuck := [run.run_id for run in runs.values() if run.state not in ENDED]:
            return f"{len(stuck)} of {len(runs)} runs are unfinished"
        applied = Counter(answer.session_id.removeprefix("session-of-") for answer in self.far.applied.values())
        for run_id, number in self.runs.items():
            if run_id not in runs or runs[run_id].state != run_pb2.RUN_STATE_SUCCEEDED:
                return f"run {run_id} did not succeed: {runs.get(run_id)}"
            if (applied[f"a{number}"], applied[f"b{number}"]) != (1, 1):
                return f"the calls of run {run_id} were applied {applied[f'a{number}']} and {applied[f'b{number}']} times"
        ended = Counter(event.subject.rsplit("/", 1)[-1] for event in await self.stand.told("dag.completed"))
        if set(ended.values()) - {1} or set(ended) != set(runs):
            return f"{len(runs)} runs, {len(ended)} ends told, {sum(ended.values())} times"
        by_intent = Counter(run.intent_id for run in runs.values() if run.intent_id)
        return "" if by_intent == Counter(self.intents) else f"{by_intent.total()} runs of {len(self.intents)} intents"

    async def _all_runs(self) -> list[run_pb2.Run]:
        found: list[run_pb2.Run] = []
        request = pb.ListRunsRequest(page_size=_PAGE)
        while True:
            page = await self._stub.ListRuns(request, timeout=60, wait_for_ready=True)
            found += page.runs
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    @property
    def _stub(self) -> OrchestrationServiceAsyncStub:
        return OrchestrationServiceStub(self.stand.caller.channel)
