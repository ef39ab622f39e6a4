"""The gRPC face of the orchestration service: every call of the contract, put together from the modules of flows/."""

from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceServicer

from services.orchestration.flows.intents import IntentCalls
from services.orchestration.flows.runs import RunCalls
from services.orchestration.flows.tasks import TaskCalls
from services.orchestration.flows.workflows import WorkflowCalls


class OrchestrationService(IntentCalls, RunCalls, WorkflowCalls, TaskCalls, OrchestrationServiceServicer):
    """Answers the calls of tooloo.orchestration.v1.OrchestrationService."""
