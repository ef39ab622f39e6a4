"""What is wrong with an answer of the door, in words; the rules that hold whatever was asked."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from tooloo.error.v1.error_reason_pb2 import ErrorReason

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def fault_of(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """What is wrong with an answer, "" when nothing is; header names are in lower case."""
    leaked = [name for name in headers if name.startswith(("grpc-", "x-envoy-", "trailer"))]
    if leaked:
        return f"headers of the machinery show: {leaked}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"{status} is nobody's mistake but ours: {body[:500]!r}"
    return fault_of_refusal(headers, body) if status >= HTTPStatus.BAD_REQUEST else ""


def fault_of_refusal(headers: Mapping[str, str], body: bytes) -> str:
    """What is wrong with a refusal's body."""
    if headers.get("content-type") != "application/json":
        return f"a refusal is {headers.get('content-type')}, not application/json"
    try:
        refusal = json.loads(body)
    except ValueError:
        return f"a refusal that is not JSON: {body[:500]!r}"
    if not refusal.get("message") or not refusal.get("code"):
        return f"a refusal without code or message: {body[:500]!r}"
    reasons = [info for info in refusal.get("details", ()) if info.get("@type") == _ERROR_INFO]
    if len(reasons) != 1 or reasons[0].get("domain") != "tooloo":
        return f"a refusal without one ErrorInfo of ours: {body[:500]!r}"
    if f"ERROR_REASON_{reasons[0].get('reason')}" not in ErrorReason.keys():  # noqa: SIM118 - a wrapper, no dictionary
        return f"an unknown reason {reasons[0].get('reason')!r}"
    return ""
