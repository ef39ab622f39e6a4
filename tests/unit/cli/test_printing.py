"""Answers as people and programs read them."""

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mesh.cli import printing, schema, tables
from mesh.cli.console import Cell, Console

SCHEMA = schema.load()


def message(name: str, /, **fields: Any) -> Any:
    """A message of the contracts."""
    return type(SCHEMA.new(f"tooloo.{name}"))(**fields)


def printed(console: Console, answer: Any) -> str:
    """What stands on stdout."""

    @click.command
    def command() -> None:
        printing.show(console, SCHEMA, answer)

    return CliRunner().invoke(command).stdout


def provider(number: int) -> Any:
    """A process with some fields."""
    return message("system.v1.Process", name=f"learning-{number}", service="learning", state=2, pid=100 + number)


def test_a_list_is_a_table_of_what_is_not_empty() -> None:
    """Columns are the fields that some row has; states are words without their enum's name."""
    answer = message("system.v1.ListProcessesResponse", processes=[provider(1), provider(2)])
    assert printed(Console(), answer).splitlines() == [
        "NAME        SERVICE   STATE    PID",
        "learning-1  learning  serving  101",
        "learning-2  learning  serving  102",
    ]


def test_everything_else_is_lines() -> None:
    """False and 0 are said; empty texts and lists are not; nested messages are indented."""
    answer = message("learning.v1.GiveCoachFeedbackResponse", session_id="s", completed=False)
    lines = printed(Console(), answer).splitlines()
    assert "session_id: s" in lines
    assert "completed: false" in lines
    health = message("system.v1.ServiceHealth", service="bus", state=2, port=3050)
    assert printed(Console(), message("system.v1.StopServiceResponse", health=health)).splitlines() == [
        "health:",
        "  service: bus",
        "  state: serving",
        "  port: 3050",
        "  serving_replicas: 0",
        "  wanted_replicas: 0",
    ]


def test_programs_get_every_field() -> None:
    """As the door answers over REST: the plain fields are always there."""
    answer = message("system.v1.ListProcessesResponse", processes=[provider(1)])
    told = json.loads(printed(Console(json=True), answer))
    assert told["processes"][0] == {
        "name": "learning-1", "service": "learning", "state": "SERVING_STATE_SERVING", "pid": 101, "restarts": 0,
        "lastExit": "", "memoryBytes": "0", "manager": False,
    }  # fmt: skip


def test_an_event_of_an_unknown_type_is_shown_as_bytes() -> None:
    """Other people's events are no reason to fail."""
    event = message("event.v1.Event", id="1", type="order.placed", position=7)
    event.data.type_url, event.data.value = "type.googleapis.com/shop.OrderPlaced", b"\x01"
    told = printing.as_json(SCHEMA, event)
    assert told["data"] == {"@type": "type.googleapis.com/shop.OrderPlaced", "value": "AQ=="}
    assert told["position"] == "7"
    assert "bytes: AQ==" in "\n".join(printing.lines(SCHEMA, event))


@pytest.mark.parametrize(
    ("units", "nanos", "text"),
    [
        (0, 0, "0.00 USD"),
        (5, 0, "5.00 USD"),
        (0, 4_200_000, "0.0042 USD"),
        (-1, -500_000_000, "-1.50 USD"),
        (0, -1, "-0.000000001 USD"),
    ],
)
def test_money(units: int, nanos: int, text: str) -> None:
    """To the nano-unit, with two decimals at least."""
    amount = type(SCHEMA.new("google.type.Money"))(currency_code="USD", units=units, nanos=nanos)
    assert printing.money(amount) == text


def test_a_table_leaves_out_what_does_not_fit() -> None:
    """One column always stands."""
    cells = [[Cell(None, "x" * 10), Cell(None, "y" * 10), Cell(None, "z" * 10)]]
    assert [tables.fit(["a", "b", "c"], cells, width) for width in (5, 22, 40)] == [1, 1, 3]


def test_rows_of_nothing_but_lists_show_their_beginning() -> None:
    """An embedding of 1536 numbers takes a line; programs get all of them."""
    vectors = [message("provider.v1.Embedding", values=[0.5, -0.25, number, *[0.125] * 1533]) for number in (1, 2)]
    answer = message("provider.v1.EmbedResponse", embeddings=vectors, dimensions=1536)
    shown = printed(Console(), answer).splitlines()
    assert shown == ["VALUES", "0.5, -0.25, 1, … of 1536", "0.5, -0.25, 2, … of 1536"]
    told = json.loads(printed(Console(json=True), answer))
    assert [len(each["values"]) for each in told["embeddings"]] == [1536, 1536]


def test_a_body_that_comes_in_pieces_is_shown_as_it_is() -> None:
    """A piece of JSON is no JSON."""
    body = type(SCHEMA.new("google.api.HttpBody"))(content_type="application/json", data=b'{"data":[')
    assert '{"data":[' in json.loads(printed(Console(json=True), body))["data"]
