"""The way to the mesh: one channel for every call, which tries again what may be tried again."""

import json
import os

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

DOOR = os.environ.get("TOOLOO_DOOR", "127.0.0.1:3000")
# only UNAVAILABLE: the mesh says by it that nothing has happened
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


def why(error: grpc.RpcError) -> str:
    """The reason of a refusal and what it says to do, e.g. "BUDGET_SPENT: …"."""
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return f"{info.reason}: {status.message}"
    return str(error)
