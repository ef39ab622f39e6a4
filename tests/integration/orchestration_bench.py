"""The orchestration service under test beside a real service that its nodes call."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from tooloo.learning.v1 import learning_service_pb2 as learning
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb
from tooloo.orchestration.v1 import run_pb2
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub

from mesh import contracts, serving, testing
from mesh.boundary import Boundary
from mesh.clock import Clock
from mesh.errors import Refusal
from mesh.host import Host, Parts
from mesh.settings import MeshSettings
from services.orchestration.__main__ import build

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceAsyncStub

START = "tooloo.learning.v1.LearningService/StartTraining"
OVERVIEW = "tooloo.learning.v1.LearningService/GetTrainingOverview"
ENDED = (run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED)


class FarService:
    """A learning service of few words: it counts, refuses and holds back as a test wants, by focus area, and honours request_id."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.applied: dict[str, learning.StartTrainingResponse] = {}
        self.refusals: dict[str, list[Refusal]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.on_the_way = 0
        self.most_on_the_way = 0
        self.arrived = asyncio.Condition()

    async def StartTraining(self, request: learning.StartTrainingRequest, context: Any) -> learning.StartTrainingResponse:
        """Applies a request once per request_id; a gate holds the answer back after that."""
        await self._arrive(request.focus_area)
        try:
            if self.refusals.get(request.focus_area):
                raise self.refusals[request.focus_area].pop(0)
            known = learning.StartTrainingResponse(session_id=f"session-of-{request.focus_area}", round_id=request.user_id)
            answer = self.applied.setdefault(request.request_id, known)
            if request.focus_area in self.gates:
                await self.gates[request.focus_area].wait()
            return answer
        finally:
            self.on_the_way -= 1

    async def GetTrainingOverview(
        self, request: learning.GetTrainingOverviewRequest, context: Any
    ) -> learning.GetTrainingOverviewResponse:
        """Knows of nothing due."""
        await self._arrive(request.user_id)
        self.on_the_way -= 1
        return learning.GetTrainingOverviewResponse()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The two calls that it answers."""
        calls: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "StartTraining": grpc.unary_unary_rpc_method_handler(
                self.StartTraining, learning.StartTrainingRequest.FromString, learning.StartTrainingResponse.SerializeToString
            ),
            "GetTrainingOverview": grpc.unary_unary_rpc_method_handler(
                self.GetTrainingOverview,
                learning.GetTrainingOverviewRequest.FromString,
                learning.GetTrainingOverviewResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler("tooloo.learning.v1.LearningService", calls)

    async def _arrive(self, name: str) -> None:
        self.on_the_way += 1
        self.most_on_the_way = max(self.most_on_the_way, self.on_the_way)
        async with self.arrived:
            self.calls[name] += 1
            self.arrived.notify_all()

    async def called(self, name: str, times: int = 1) -> None:
        """Waits until a call of this focus area has arrived so often."""
        async with self.arrived, asyncio.timeout(60):
            await self.arrived.wait_for(lambda: self.calls[name] >= times)


class Bench:
    """The running service, the service its nodes call, and short ways to both."""

    def __init__(self, running: testing.Bench, far: FarService) -> None:
        self.running = running
        self.far = far

    @property
    def stub(self) -> OrchestrationServiceAsyncStub:
        """The service's calls."""
        return OrchestrationServiceStub(self.running.channel)

    async def execute(self, *nodes: Mapping[str, Any], wait: str = "30s", **fields: Any) -> pb.ExecuteDagResponse:
        """Executes a DAG given as JSON."""
        request = json_format.ParseDict({"dag": {"nodes": list(nodes)}, "wait": wait, **fields}, pb.ExecuteDagRequest())
        return await self.stub.ExecuteDag(request)

    async def run_ended(self, run_id: str) -> run_pb2.Run:
        """The run when it has ended."""
        async with asyncio.timeout(60):
            async for message in self.stub.WatchRun(pb.WatchRunRequest(run_id=run_id)):
                if message.final:
                    break
        return (await self.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run

    async def told(self, event_type: str) -> list[Any]:
        """The data of every event of a type that was told, in order."""
        found = []
        for event in await self.running.told():
            if event.type == event_type:
                data = contracts.message_class(event.data.TypeName())()
                event.data.Unpack(data)
                found.append(data)
        return found


def start(node_id: str, focus_area: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    """A node that starts a training."""
    return {
        "id": node_id,
        "call": START,
        "input": {"userId": "ada", "focusArea": focus_area},
        "dependsOn": list(depends_on),
        **more,
    }


@asynccontextmanager
async def running(folder: Path, clock: Clock | None = None, **settings: str) -> AsyncIterator[Bench]:
    """Runs the service with its nodes' calls going to a FarService; `settings` are those of [orchestration]."""
    far = FarService()
    with tempfile.TemporaryDirectory(prefix="tooloo-") as sockets:
        address = f"unix:{sockets}/far.sock"
        server = serving.make_server(MeshSettings(), Boundary())
        server.add_generic_rpc_handlers((far.handlers(),))
        server.add_insecure_port(address)
        await server.start()

        async def build_beside(host: Host) -> Parts:
            host.client.target = address
            return await build(host)

        env = {
            # retries are the engine's here, not the channel's
            "TOOLOO_CALL_ATTEMPTS": "1",
            "TOOLOO_ORCHESTRATION_POLL_INTERVAL": "20ms",
            "TOOLOO_ORCHESTRATION_NODE_BACKOFF": "1ms",
            **{f"TOOLOO_ORCHESTRATION_{name.upper()}": value for name, value in settings.items()},
        }
        try:
            async with testing.running("orchestration", build_beside, folder, clock=clock, settings=env) as bench:
                yield Bench(bench, far)
        finally:
            await server.stop(None)
