"""The way to the mesh: one channel for every call, which tries again what may be tried again."""

import json
import os
import uuid

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

DOOR = os.environ.get("TOOLOO_DOOR", "127.0.0.1:3000")
# nothing but UNAVAILABLE is tried again; a write that must not happen twice has an id, see once()
RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.5s",
    "maxBackoff": "10s",
    "backoffMultiplier": 4,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_door() -> grpc.Channel:
    """A channel; close it, or use it in a `with`."""
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRY}]})
    return grpc.insecure_channel(DOOR, options=[("grpc.service_config", config)])


def once() -> str:
    """A `request_id` for a write: the same id again gets the first answer and changes nothing, so a retry cannot do it twice."""
    return str(uuid.uuid4())


def why(error: grpc.RpcError) -> str:
    """The reason of a refusal and what it says to do, e.g. "BUDGET_SPENT: …"."""
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return f"{info.reason}: {status.message}"
    return str(error)
