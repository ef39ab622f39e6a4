"""Follows, reads and publishes events; shows lag and dead letters of subscriptions."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import click

from mesh.cli import eventing, printing, publishing, requests
from mesh.cli.calling import Caller
from mesh.cli.console import Cell, Console
from mesh.cli.dead_letters import dead
from mesh.cli.eventing import BUS, EventTypeName
from mesh.cli.grouping import Group

_PAGE = 1000


@click.group(cls=Group)
def command() -> None:
    """Follows, reads and publishes events; shows lag and dead letters of subscriptions."""


command.add_command(dead)


@command.command()
@eventing.filters
@eventing.beginnings
@click.option("--full", is_flag=True, help="Show every field of each event, not a line.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@click.pass_obj
def follow(console: Console, wanted: dict[str, Any], start: dict[str, Any] | None, *, full: bool, count: int | None) -> None:
    """Shows events as they happen, from now on unless told otherwise; resumes by itself when the bus was away."""
    schema = Caller(console).schema
    if console.on_terminal:
        console.say("following; Ctrl-C ends it")
    for number, event in enumerate(eventing.follow(console, start, wanted), 1):
        eventing.show(console, schema, event, full=full)
        if number == count:
            return


@command.command()
@eventing.filters
@eventing.beginnings
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.option("--last", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--full", is_flag=True, help="Show every field of each event, not a line.")
@click.pass_obj
def read(
    console: Console, wanted: dict[str, Any], start: dict[str, Any] | None, limit: int, last: int | None, *, full: bool
) -> None:
    """Reads events from the log, oldest first: from the beginning unless told otherwise."""
    with Caller(console) as caller:
        events = _read(caller, wanted, start or {}, None if last else limit)
        found = list(deque(events, maxlen=last) if last else events)
        if console.json:
            console.value([printing.as_json(caller.schema, event) for event in found])
            return
        for event in found:
            eventing.show(console, caller.schema, event, full=full)


def _read(caller: Caller, wanted: dict[str, Any], start: dict[str, Any], limit: int | None) -> Iterator[Any]:
    """Events page by page, at most so many."""
    rpc = caller.schema.rpcs[f"{BUS}/ReadEvents"]
    begin = {"fromTime": start["time"]} if "time" in start else {"afterPosition": start.get("afterPosition", 0)}
    token, left = "", limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(left, _PAGE)
        fields = {"filter": wanted, "pageSize": size, "pageToken": token, **begin}
        page: Any = caller.unary(rpc, requests.build(caller.schema, rpc, (), fields))
        yield from page.events
        token, left = page.next_page_token, None if left is None else left - len(page.events)
        if not token:
            return


@command.command()
@click.argument("type_or_file", metavar="TYPE | @FILE | -", type=EventTypeName())
@click.argument("fields", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--subject", default="manual", show_default=True, help="What the event is about; order is kept within a subject.")
@click.option("--source", default="", help="Who tells it; the owner of the type by default, and only that one may.")
@click.option("--correlation-id", default="", help="Shared by everything that follows from one request.")
@click.option("--causation-id", default="", help="Id of the event that made this one happen.")
@click.pass_obj
def publish(
    console: Console,
    type_or_file: str,
    fields: tuple[str, ...],
    subject: str,
    source: str,
    correlation_id: str,
    causation_id: str,
) -> None:
    """Publishes an event, e.g. `tooloo events publish training.completed user_id=ada`; or CloudEvents from a file of JSON.

    The fields are those of the event's own message. It is on disk when this ends.
    """
    attributes = {"subject": subject, "source": source, "correlation_id": correlation_id, "causation_id": causation_id}
    with Caller(console) as caller:
        if type_or_file.startswith("@") or type_or_file == requests.STDIN:
            text = sys.stdin.read() if type_or_file == requests.STDIN else requests.file(type_or_file[1:])
            rpc = caller.schema.rpcs[f"{BUS}/PublishCloudEvents"]
            request = publishing.cloud_events(caller.schema, rpc, text)
        else:
            rpc = caller.schema.rpcs[f"{BUS}/Publish"]
            request = publishing.event(caller.schema, rpc, type_or_file, fields, attributes)
        answer: Any = caller.unary(rpc, request)
        text = f"published at position {', '.join(map(str, answer.positions))}"
        console.result(
            printing.as_json(caller.schema, answer), f"{text} ({answer.duplicates} known before)" if answer.duplicates else text
        )


@command.command()
@click.pass_obj
def lag(console: Console) -> None:
    """Shows where each subscription stands and how far it is behind."""
    columns = ("subscription", "state", "backlog", "oldest", "in_flight", "members", "acknowledged", "head", "dead_letters")
    with Caller(console) as caller:
        found = subscriptions(caller)
        console.table(columns, [_standing(caller, each) for each in found])


def subscriptions(caller: Caller) -> Iterator[Any]:
    """Every subscription with where it stands."""
    token = ""
    while True:
        page = caller.call(f"{BUS}/ListSubscriptions", page_size=_PAGE, page_token=token)
        yield from page.subscriptions
        token = page.next_page_token
        if not token:
            return


def _standing(caller: Caller, each: Any) -> list[Cell]:
    state = printing.scalar(caller.schema, each.DESCRIPTOR.fields_by_name["state"], each.state)
    oldest = each.oldest_unacknowledged_age.ToJsonString()
    behind = Cell(each.backlog, str(each.backlog), "yellow" if each.backlog else "")
    dead_ones = Cell(each.dead_letters, str(each.dead_letters), "red" if each.dead_letters else "")
    numbers = [Cell(value, str(value)) for value in (each.in_flight, each.members, each.ack_floor, each.head_position)]
    return [
        Cell(each.name, each.name),
        Cell(state, state, printing.style_of(state)),
        behind,
        Cell(oldest, oldest),
        *numbers,
        dead_ones,
    ]
