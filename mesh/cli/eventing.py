"""Events on the command line: filters, where to begin, following over reconnects, and how one is shown."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from google.protobuf.message import Message

from mesh.cli import printing, values
from mesh.cli.calling import Caller
from mesh.cli.console import Code, Console, Failure
from mesh.cli.schema import Schema, load

BUS = "tooloo.bus.v1.EventBus"
F = TypeVar("F", bound=Callable[..., Any])
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
# after so many seconds without even a heartbeat the stream is dead
_HEARTBEAT, _SILENCE = "2s", 15.0
_COLORS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


class EventTypeName(click.ParamType[str]):
    """An event type, or the beginning of some with "*"."""

    name = "type"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The types of the contracts."""
        known = load().events
        return [CompletionItem(name, help=f"told by {owner}") for name, (_, owner) in known.items() if name.startswith(incomplete)]


def filters(command: F) -> F:
    """The options that say which events are meant; the callback gets them as one keyword `wanted`, an EventFilter as JSON."""

    @click.option(
        "--type", "types", multiple=True, type=EventTypeName(), help='Only this type; "training.*" for all that begin so.'
    )
    @click.option("--source", "sources", multiple=True, help='Only what this service tells, e.g. "learning".')
    @click.option("--subject", default="", help='Only subjects that begin with this, e.g. "users/ada".')
    @click.option("--cel", default="", help="Only where this expression in CEL holds, e.g. 'data.score < 0.5'.")
    @functools.wraps(command)
    def with_filter(*args: Any, types: tuple[str, ...], sources: tuple[str, ...], subject: str, cel: str, **rest: Any) -> Any:
        given = {"types": list(types), "sources": list(sources), "subjectPrefix": subject, "cel": cel}
        return command(*args, wanted={name: value for name, value in given.items() if value}, **rest)

    return with_filter  # type: ignore[return-value] # the same callback, called with less


def beginnings(command: F) -> F:
    """The options that say where to begin; the callback gets them as one keyword `start`, a StartAt as JSON, None without any."""

    @click.option("--from", "origin", metavar="beginning|now|POSITION", default="", help="Where to begin: a position is included.")
    @click.option("--after", type=click.IntRange(min=0), help="Begin after this position.")
    @click.option("--since", default="", metavar="TIME", help='Begin at a time (RFC 3339, a day) or so long ago, e.g. "10m".')
    @functools.wraps(command)
    def with_start(*args: Any, origin: str, after: int | None, since: str, **rest: Any) -> Any:
        return command(*args, start=_start(origin, after, since), **rest)

    return with_start  # type: ignore[return-value] # the same callback, called with less


def _start(origin: str, after: int | None, since: str) -> dict[str, Any] | None:
    if sum((bool(origin), after is not None, bool(since))) > 1:
        raise click.UsageError("Give one of --from, --after and --since.")
    if after is not None:
        return {"afterPosition": after}
    if since:
        return {"time": _since(since)}
    if origin.isdigit():
        return {"afterPosition": max(int(origin) - 1, 0)}
    if origin not in {"", "beginning", "now"}:
        raise click.UsageError("--from takes beginning, now or a position.")
    return {"beginning": True} if origin == "beginning" else None


def _since(text: str) -> str:
    try:
        return values.moment(
            f"-{text}" if text[-1].isalpha() and text[0].isdigit() and text[-1] != "Z" else text, datetime.now(UTC)
        )
    except ValueError as error:
        raise click.UsageError(f"--since: {error}") from error


def follow(console: Console, start: dict[str, Any] | None, wanted: dict[str, Any]) -> Iterator[Message]:
    """Events live, without a gap or a repeat over reconnects; Failure only for what trying again cannot help."""
    wait, position, connected = _FIRST_WAIT, start, False
    while True:
        try:
            with Caller(console) as caller:
                for answer in _follow_once(caller, position, wanted):
                    wait, connected = _FIRST_WAIT, True
                    position = {"afterPosition": answer.progress_position}
                    yield from answer.events
        except Failure as failure:
            # who was never there is reported; who was there comes back
            if not connected or (failure.code != Code.UNREACHABLE and not _broken(failure)):
                raise
            console.say(f"the bus is away; trying again in {wait:g} s")
        time.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT)


def _broken(failure: Failure) -> bool:
    """A stream that ended with its server, which shows in many ways."""
    return failure.detail.get("code") in {"UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED"}


def _follow_once(caller: Caller, start: dict[str, Any] | None, wanted: dict[str, Any]) -> Iterator[Any]:
    from mesh.cli import requests  # noqa: PLC0415 - only followers need it

    rpc = caller.schema.rpcs[f"{BUS}/Follow"]
    fields = {"filter": wanted, "stampPositions": True, "heartbeat": _HEARTBEAT, **({"start": start} if start else {})}
    yield from caller.answers(rpc, [requests.build(caller.schema, rpc, (), fields)], _SILENCE)


def show(console: Console, schema: Schema, event: Any, *, full: bool = False) -> None:
    """One event: a line of JSON for programs, for people a line, or with `full` all of it."""
    if console.json:
        console.line(printing.as_json(schema, event))
    elif full:
        click.echo("\n".join(["---", *printing.lines(schema, event)]))
    else:
        click.echo(line(schema, event))


def line(schema: Schema, event: Any) -> str:
    """Position, time, type, subject and data of an event on one line."""
    color = _COLORS[sum(event.type.partition(".")[0].encode()) % len(_COLORS)]
    when = event.time.ToJsonString()[11:23].rstrip("Z")
    head = f"{click.style(f'{event.position:>6}', dim=True)} {when}  {click.style(event.type, fg=color)}  {event.subject}"
    return f"{head}  {click.style(data(schema, event), dim=True)}"


def data(schema: Schema, event: Any) -> str:
    """What an event carries, as compact JSON; its size where the contracts do not know its type."""
    message = printing.unpacked(schema, event.data)
    if message is None:
        return f"({len(event.data.value)} bytes of {event.data.TypeName()})"
    return json.dumps(printing.compact(schema, message), ensure_ascii=False, separators=(",", ":"))
