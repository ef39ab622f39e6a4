"""The judge of the generated traffic: what it lets pass, and what it does not."""

import json
from typing import Any

import pytest

from tests.fuzz.refusals import fault_of

JSON = {"content-type": "application/json"}
INFO = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_FIELD", "domain": "tooloo"}
REFUSAL = {"code": 3, "message": "score: must be finite", "details": [INFO]}
FAULTS: dict[str, tuple[int, dict[str, str], Any]] = {
    "a server error": (500, JSON, REFUSAL | {"code": 13}),
    "no details": (400, JSON, REFUSAL | {"details": []}),
    "no message": (400, JSON, REFUSAL | {"message": ""}),
    "another domain": (400, JSON, REFUSAL | {"details": [INFO | {"domain": "envoy"}]}),
    "a reason that nobody knows": (400, JSON, REFUSAL | {"details": [INFO | {"reason": "BAD"}]}),
    "two reasons": (400, JSON, REFUSAL | {"details": [INFO, INFO]}),
    "plain text": (400, {"content-type": "text/plain"}, REFUSAL),
    "a header of gRPC": (200, JSON | {"grpc-status": "0"}, {}),
}


def test_an_answer_and_a_refusal_pass() -> None:
    """The two things that may come."""
    assert fault_of(200, JSON, b"{}") == ""
    assert fault_of(400, JSON, json.dumps(REFUSAL).encode()) == ""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str) -> None:
    """Everything else is told in words."""
    status, headers, body = FAULTS[name]
    assert fault_of(status, headers, json.dumps(body).encode())


def test_what_is_no_json_is_a_fault() -> None:
    """Half a body, for one."""
    assert fault_of(400, JSON, b'{"code":')
