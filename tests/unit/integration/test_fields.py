"""An event's fields as texts: every kind of field in the form that a person reads."""

from datetime import UTC, datetime

import pytest
from google.type.money_pb2 import Money
from tooloo.integration.v1 import integration_events_pb2, slack_message_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2, run_pb2
from tooloo.provider.v1 import provider_events_pb2

from services.integration.flows import fields


@pytest.mark.parametrize(
    ("units", "nanos", "text"),
    [
        (8, 250_000_000, "8.25 USD"),
        (10, 0, "10.00 USD"),
        (0, 4_200_000, "0.0042 USD"),
        (0, 0, "0 USD"),
        (-3, -500_000_000, "-3.50 USD"),
        (123_456_789_012, 999_999_999, "123456789013.00 USD"),
    ],
)
def test_money_is_written_with_its_currency(units: int, nanos: int, text: str) -> None:
    """Two places from one unit on, as many as needed below."""
    money = Money(currency_code="USD", units=units, nanos=nanos)
    assert fields.of(provider_events_pb2.BudgetThresholdExceeded(spent=money))["spent"] == text


def test_enums_numbers_and_lists() -> None:
    """Enum values by name, zeros as they are, lists left out, messages that are not set left out."""
    completed = orchestration_events_pb2.DagCompleted(run_id="r", state=run_pb2.RUN_STATE_FAILED)
    found = fields.of(completed)
    assert (found["runId"], found["state"], found["failedNodes"]) == ("r", "RUN_STATE_FAILED", "0")
    assert "duration" not in found


def test_truth_is_written_as_json_has_it() -> None:
    """As JSON writes truth, as everywhere else over REST."""
    assert fields.of(integration_events_pb2.GithubSynced(changed=True))["changed"] == "true"
    assert fields.of(integration_events_pb2.GithubSynced())["changed"] == "false"


def test_times_are_rfc_3339() -> None:
    """As proto3 JSON writes them."""
    message = slack_message_pb2.SlackMessage()
    message.create_time.FromDatetime(datetime(2026, 11, 22, 12, 0, tzinfo=UTC))
    assert fields.of(message)["createTime"] == "2026-11-22T12:00:00Z"


def test_an_unknown_enum_value_is_its_number() -> None:
    """A newer teller may know more states."""
    message = slack_message_pb2.SlackMessage.FromString(b"\x30\x63")
    assert fields.of(message)["state"] == "99"


def test_every_name_that_can_come_is_announced() -> None:
    """`of` never gives a field that `names` does not know, nested ones included."""
    failed = orchestration_events_pb2.DagNodeFailed(run_id="r")
    failed.error.SetInParent()
    known = fields.names(failed.DESCRIPTOR)
    assert set(fields.of(failed)) <= known
    assert any(name.startswith("error.") for name in known)
