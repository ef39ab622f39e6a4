"""What every call of the orchestration service stands on, and the checks that several share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.orchestration.v1 import dag_pb2

from mesh import errors, page
from mesh.host import Host
from services.orchestration import dag as dags
from services.orchestration import store, wire
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers import calls
from services.orchestration.workers.changes import Changes
from services.orchestration.workers.classifier import Classifier
from services.orchestration.workers.engine import Engine
from services.orchestration.workers.scheduler import Scheduler
from services.orchestration.workers.starter import Starter

Context = Any  # grpc.aio.ServicerContext, whose generic parameters say nothing here
_MAX_PROBLEMS = 16
R = TypeVar("R")


@dataclass(frozen=True)
class Parts:
    """The moving parts of the service."""

    host: Host
    settings: OrchestrationSettings
    classifier: Classifier
    starter: Starter
    engine: Engine
    scheduler: Scheduler
    changes: Changes


class Calls:
    """Base of the calls."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._host = parts.host
        self._settings = parts.settings

    def _check_dag(self, message: dag_pb2.Dag) -> None:
        """INVALID_ARGUMENT with everything that is wrong with a DAG."""
        limits = self._settings
        if len(message.nodes) > limits.max_nodes:
            raise _invalid_dag([("dag.nodes", f"at most {limits.max_nodes} nodes ({limits.env_name('max_nodes')})")])
        if message.ByteSize() > limits.max_dag_bytes:
            raise _invalid_dag([("dag", f"at most {limits.max_dag_bytes} bytes ({limits.env_name('max_dag_bytes')})")])
        dag = wire.dag_of(message, limits)
        found = [*dags.problems(dag), *calls.problems(dag)]
        if found:
            raise _invalid_dag([(f"dag.{problem.field}", problem.description) for problem in found[:_MAX_PROBLEMS]])

    def _check_target(self, message: dag_pb2.Dag, has_dag: bool, workflow_id: str) -> None:
        """INVALID_ARGUMENT unless there is either a DAG without fault or the id of a workflow."""
        if has_dag == bool(workflow_id):
            raise errors.invalid("dag", "give either a dag or a workflow_id")
        if has_dag:
            self._check_dag(message)

    def _input_of(self, struct: Struct) -> dict[str, Any]:
        """${input} as JSON; INVALID_ARGUMENT when it is too large."""
        limit = self._settings.max_input_bytes
        if struct.ByteSize() > limit:
            raise errors.invalid("input", f"at most {limit} bytes ({self._settings.env_name('max_input_bytes')})")
        return wire.json_of(struct, "input")


def _invalid_dag(violations: list[tuple[str, str]]) -> errors.Refusal:
    return errors.invalid_fields(violations, reason=ErrorReason.ERROR_REASON_INVALID_DAG)


def page_of(request: Message, page_size: int, page_token: str) -> store.Page:
    """Where a list newest first goes on: a page and one row more, which tells whether another page follows."""
    cursor = page.decode_token(page_token, page.fingerprint(request))
    limit = page.size_of(page_size) + 1
    if not cursor:
        return store.Page(limit)
    return store.Page(limit, page.whole_of(cursor, "before_us"), page.text_of(cursor, "before_id"))


def shown_of(request: Message, found: list[R], asked: store.Page, place: Callable[[R], tuple[int, str]]) -> tuple[list[R], str]:
    """The rows of a page, and the token for the one after it; "" at the end. `place` gives a row's time and id."""
    if len(found) < asked.limit:
        return found, ""
    shown = found[: asked.limit - 1]
    before_us, before_id = place(shown[-1])
    return shown, page.encode_token({"before_us": before_us, "before_id": before_id}, page.fingerprint(request))
