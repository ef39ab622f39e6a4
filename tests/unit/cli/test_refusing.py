"""Refusals: code, reason, message, what the details say, the next step and the exit code."""

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh import errors, instance
from mesh.cli import calling, refusing, schema
from mesh.cli.console import Code, Console, Failure

SCHEMA = schema.load()
RPC = SCHEMA.rpcs["tooloo.learning.v1.LearningService/StartTraining"]


class Failed:
    """A call that ended with a refusal, as grpc tells it."""

    def __init__(self, refusal: errors.Refusal | None, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self._refusal, self._code = refusal, code

    def code(self) -> grpc.StatusCode:
        """Its code."""
        return self._refusal.code if self._refusal else self._code

    def details(self) -> str:
        """Its message."""
        return self._refusal.message if self._refusal else "failed to connect"

    def trailing_metadata(self) -> list[tuple[str, Any]]:
        """Where the details are."""
        return [("grpc-status-details-bin", self._refusal.status().SerializeToString())] if self._refusal else []


def told(refusal: errors.Refusal | None, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Failure:
    """The failure of a command whose call was refused."""
    return refusing.failure(SCHEMA, Failed(refusal, code), RPC, "127.0.0.1:3000")


def test_each_field_at_fault_is_named() -> None:
    """Several violations: a line each."""
    failure = told(errors.invalid_fields([("user_id", "is missing"), ("score", "must be at most 1")]))
    assert failure.message.startswith("INVALID_ARGUMENT INVALID_FIELD: ")
    assert "user_id: is missing" in failure.message
    assert "tooloo call StartTraining --help" in failure.next_step
    assert failure.exit_code == Code.REFUSED


def test_how_long_to_wait_is_the_next_step() -> None:
    """RetryInfo."""
    failure = told(errors.exhausted("budget:red", "spent", retry_after=timedelta(seconds=90)))
    assert failure.next_step == "try again in 90s"
    assert failure.lines == ("budget:red",)


def test_what_is_unexpected_leads_to_the_log() -> None:
    """The id that the log has too."""
    assert "tooloo logs --contains 018f" in told(errors.internal("018f")).next_step


def test_a_dependency_that_is_away_is_a_refusal() -> None:
    """The service has answered, so it is there."""
    assert told(errors.unavailable("openai")).exit_code == Code.REFUSED


def test_nothing_there() -> None:
    """No details: the call reached nobody."""
    failure = told(None)
    assert failure.exit_code == Code.UNREACHABLE
    assert failure.message == "nothing answers at 127.0.0.1:3000"


@pytest.mark.parametrize(
    ("door", "told"), [(None, "start the mesh with: tooloo up"), (3000, "does not answer"), (4300, "127.0.0.1:4300")]
)
def test_what_helps_when_nothing_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: int | None, told: str) -> None:
    """Perhaps another terminal has started the mesh of this folder with a setting that this one lacks."""
    monkeypatch.setenv("TOOLOO_DATA_FOLDER", str(tmp_path))
    with instance.held(tmp_path, door, "127.0.0.1") if door else nullcontext():
        assert told in calling.next_step_where_nothing_answers(Console(door="127.0.0.1:3000"))


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_without_details_the_code_is_said(code: grpc.StatusCode) -> None:
    """A failure of gRPC itself."""
    failure = told(None, code)
    assert failure.message.startswith(code.name)
    assert failure.as_json()["error"]["code"] == code.name
