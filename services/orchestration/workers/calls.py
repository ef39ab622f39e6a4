"""Calls of nodes: does the request fit the contract, how is it made, what does the answer or the refusal look like as JSON."""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mesh import contracts, errors
from mesh.boundary import violations_of
from mesh.client import MeshClient
from services.orchestration import reference
from services.orchestration.dag import Dag, Node, Problem
from services.orchestration.run import Failure

# a node of a run that starts runs could go on for ever
_FORBIDDEN = frozenset(
    f"tooloo.orchestration.v1.OrchestrationService/{name}" for name in ("AnalyzeIntent", "ExecuteDag", "RetryRun")
)
_JSON_ERRORS = (json_format.Error, ValueError, TypeError, OverflowError, RecursionError)
_LONGEST_MESSAGE = 500
# as deep as requests may be (mesh.soundness); in a Struct a level costs several of the 100 that protobuf reads
_MAX_LEVELS = 16


class CallFailed(Exception):
    """A call that was refused or could not be made; `retry_after_s` is its RetryInfo, None when it had none."""

    def __init__(self, failure: Failure, retry_after_s: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_after_s = retry_after_s


def problems(dag: Dag) -> list[Problem]:
    """What of a DAG does not fit the contracts: unknown, streaming and forbidden calls, inputs of another type."""
    return [problem for index, node in enumerate(dag.nodes) for problem in _problems_of(node, f"nodes[{index}]")]


def _problems_of(node: Node, place: str) -> Iterator[Problem]:
    method = contracts.methods().get(node.call)
    if method is None:
        yield Problem(f"{place}.call", f"the mesh has no call {node.call!r}; write package.Service/Method")
    elif not method.unary:
        yield Problem(f"{place}.call", f"{node.call} streams; a node calls what gives one answer to one request")
    elif node.call in _FORBIDDEN:
        yield Problem(f"{place}.call", f"{node.call} starts runs; a node may not")
    else:
        yield from _misfits(node, method.request, place)


def _misfits(node: Node, request_type: type[Message], place: str) -> Iterator[Problem]:
    try:
        references = reference.find(node.input)
    except reference.MalformedReference:
        # told already, as a problem of the DAG
        return
    try:
        request = _parse(request_type, _known(node.input, request_type))
    except _JSON_ERRORS as error:
        yield Problem(f"{place}.input", _first_line(error))
        return
    # only a request that is wholly known can break the rules of its fields already
    if not references:
        for field, description in violations_of(request):
            yield Problem(f"{place}.input.{field}", description)


def _known(values: Mapping[str, Any], request_type: type[Message]) -> dict[str, Any]:
    """The request as far as it is known before a run. What is not known is null, or left out of a map, which takes no null."""
    known: dict[str, Any] = reference.without_references(values)
    for field in request_type.DESCRIPTOR.fields:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        for name in {field.name, field.json_name} if is_map else ():
            if isinstance(known.get(name), Mapping):
                known[name] = {key: value for key, value in known[name].items() if value is not None}
    return known


def _parse(request_type: type[Message], values: Mapping[str, Any]) -> Message:
    request = request_type()
    json_format.ParseDict(dict(values), request)
    return request


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST_MESSAGE]


def request_id_of(run_id: str, node_id: str) -> str:
    """The request_id of a node's call: the same on every attempt, so that what was applied is not applied again."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tooloo:runs/{run_id}/nodes/{node_id}"))


def make_request(call: str, values: Mapping[str, Any], request_id: str) -> Message:
    """The request of a call, with `request_id` where its type has one and `values` give none; CallFailed when they do not fit."""
    method = contracts.methods().get(call)
    if method is None:
        # it was there when the DAG was checked; a workflow may be older than the mesh
        raise CallFailed(Failure("UNIMPLEMENTED", "", f"the mesh has no call {call!r} any more; give the workflow another one"))
    if call in _FORBIDDEN:
        # it was not, when the DAG was checked
        raise CallFailed(Failure("FAILED_PRECONDITION", "", f"{call} starts runs; a node may not; give the workflow another call"))
    try:
        request = _parse(method.request, values)
    except _JSON_ERRORS as error:
        raise CallFailed(Failure("INVALID_ARGUMENT", "INVALID_FIELD", _first_line(error))) from error
    if "request_id" in request.DESCRIPTOR.fields_by_name and not getattr(request, "request_id"):  # noqa: B009 # only some types have it
        setattr(request, "request_id", request_id)  # noqa: B010 # only some types have it
    return request


@dataclass(frozen=True)
class Caller:
    """Makes calls to the mesh; an answer longer than `max_output_bytes` as JSON is not kept."""

    client: MeshClient
    max_output_bytes: int

    async def make(self, call: str, request: Message, timeout: timedelta) -> dict[str, Any]:
        """The answer as JSON with every field present; CallFailed when there is none."""
        try:
            answer = await self.client.call(call, request, timeout)
        except grpc.aio.AioRpcError as error:
            raise _failed(errors.from_rpc_error(error)) from error
        return self._as_json(answer)

    def _as_json(self, answer: Message) -> dict[str, Any]:
        try:
            output: dict[str, Any] = json_format.MessageToDict(answer, always_print_fields_with_no_presence=True)
            size = len(json.dumps(output))
        except _JSON_ERRORS as error:
            raise CallFailed(Failure("DATA_LOSS", "", f"the answer cannot be kept as JSON: {_first_line(error)}")) from error
        if _levels(output) > _MAX_LEVELS:
            raise CallFailed(Failure("DATA_LOSS", "", f"the answer is nested deeper than the {_MAX_LEVELS} levels that are kept"))
        if size > self.max_output_bytes:
            raise CallFailed(
                Failure("DATA_LOSS", "", f"the answer has {size} bytes as JSON; {self.max_output_bytes} are kept at most")
            )
        return output


def _levels(value: Any) -> int:
    """How deep a JSON value is nested; 0 for a plain one."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(_levels, items), default=0)


def _failed(status: status_pb2.Status) -> CallFailed:
    reason, retry_after = "", None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    failure = Failure(errors.code_of(status).name, reason, status.message[:_LONGEST_MESSAGE])
    return CallFailed(failure, retry_after)
