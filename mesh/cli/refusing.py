"""Refusals for people and programs: code, reason, message, what each detail says, and the next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from mesh.cli.console import Code, Failure
from mesh.cli.schema import Rpc, Schema

_STATUS = "google.rpc.Status"
_DETAILS = "grpc-status-details-bin"
_PREFIX = "type.googleapis.com/google.rpc."
# who cannot be reached now: the service itself; when it names a dependency, the service has answered
_AWAY = {"DEPENDENCY_UNAVAILABLE", "NOT_READY", ""}
Detail = Mapping[str, Any]


def failure(schema: Schema, error: Any, rpc: Rpc, target: str) -> Failure:
    """The failure that a failed gRPC call is; `error` is a grpc.RpcError that has the call's end."""
    code = error.code().name
    status = _status(schema, error)
    reason, metadata = _info(status)
    told = {"code": code, **({"reason": reason} if reason else {}), "call": rpc.name, "status": status}
    if code == "UNAVAILABLE" and reason in _AWAY and "dependency" not in metadata:
        return _away(status, target, rpc, told)
    message = f"{code}{f' {reason}' if reason else ''}: {status.get('message', '')}"
    return Failure(message, _next_step(code, reason, metadata, status, rpc), Code.REFUSED, told, tuple(filter(None, lines(status))))


def _away(status: Detail, target: str, rpc: Rpc, told: Mapping[str, Any]) -> Failure:
    if not status.get("details"):
        # what helps is known by whoever made the call
        return Failure(f"nothing answers at {target}", code=Code.UNREACHABLE, detail=told)
    message = f"{rpc.service} does not answer: {status.get('message', '')}"
    return Failure(message, "tooloo status shows how each service does", Code.UNREACHABLE, told)


def _status(schema: Schema, error: Any) -> dict[str, Any]:
    """The google.rpc.Status as JSON; made from the code where none came with it."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            try:
                message = type(schema.new(_STATUS)).FromString(value)
                found: dict[str, Any] = json_format.MessageToDict(message, descriptor_pool=schema.pool)
            except (DecodeError, json_format.Error, TypeError):
                break
            else:
                return found
    return {"code": error.code().value[0], "message": error.details() or ""}


def _details(status: Detail, kind: str) -> Iterator[Detail]:
    return (each for each in status.get("details", ()) if each.get("@type") == f"{_PREFIX}{kind}")


def _info(status: Detail) -> tuple[str, Mapping[str, str]]:
    """Reason and metadata of the ErrorInfo; empty ones where there is none."""
    info: Detail = next(_details(status, "ErrorInfo"), {})
    return info.get("reason", ""), info.get("metadata", {})


def lines(status: Detail) -> Iterator[str]:
    """What the details say beyond the message, a line each."""
    message = status.get("message", "")
    for kind, parts in _SAYINGS.items():
        for detail in _details(status, kind):
            for each in detail.get("violations", detail.get("fieldViolations", [detail])):
                # the message often says it already
                yield ": ".join(said for part in parts if (said := str(each.get(part, ""))) and said not in message)
    metadata = _info(status)[1]
    yield from (f"{key}: {value}" for key, value in metadata.items() if key not in _TOLD_BY_DETAILS)


_TOLD_BY_DETAILS = {"fields", "resource"}
# which parts of a detail say something, by its kind
_SAYINGS = {
    "BadRequest": ("field", "description"),
    "QuotaFailure": ("subject", "description"),
    "PreconditionFailure": ("subject", "description"),
    "ResourceInfo": ("resourceType", "resourceName"),
}


def _next_step(code: str, reason: str, metadata: Mapping[str, str], status: Detail, rpc: Rpc) -> str:
    retry = next(_details(status, "RetryInfo"), None)
    if retry is not None:
        return f"try again in {retry.get('retryDelay', '0s')}"
    if reason == "INTERNAL" and "id" in metadata:
        return f"tooloo logs --contains {metadata['id']} shows what happened"
    if code == "INVALID_ARGUMENT":
        return f"tooloo call {rpc.method.name} --help shows the fields and their rules"
    if code == "UNIMPLEMENTED":
        return "the mesh is older than this command, or the service does not run: tooloo status"
    return "give it longer with --timeout, e.g. --timeout 5m" if code == "DEADLINE_EXCEEDED" else ""
