"""Shows what the services log: the newest lines, or every new one as it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from google.protobuf import json_format

from mesh.catalogue import SERVICES
from mesh.cli import printing, requests, values
from mesh.cli.calling import Caller
from mesh.cli.console import Code, Console
from mesh.cli.managing import ServiceName
from mesh.cli.schema import Schema
from mesh.cli.sharing import Command

_SYSTEM = "tooloo.system.v1.SystemService"
_LEVEL = "tooloo.system.v1.LogLevel"
_LARGEST_PAGE = 1000
_COLORS = {"warning": "yellow", "error": "red", "critical": "red"}
# of these levels the rest of the line is always of interest
_SEVERE = {"warning", "error", "critical"}


class Level(click.ParamType[str]):
    """A level of the contract, e.g. "warning"."""

    name = "level"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its name in the contract."""
        known = _levels()
        if str(value).lower() not in known:
            self.fail(f"choose one of: {', '.join(known)}", param, ctx)
        return known[str(value).lower()]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """The levels."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion needs it

        return [CompletionItem(name) for name in _levels() if name.startswith(incomplete)]


def _levels() -> dict[str, str]:
    from mesh.cli.schema import load  # noqa: PLC0415 - only a level that was given needs the contracts

    return values.choices(load().pool.FindEnumTypeByName(_LEVEL))


@click.command(cls=Command)
@click.argument("service", default="", type=ServiceName())
@click.option("-f", "--follow", is_flag=True, help="Go on with every line as it is written.")
@click.option("--tail", type=click.IntRange(0), default=50, show_default=True, help="So many of the newest lines.")
@click.option(
    "--level", "min_level", type=Level(), default=None, metavar="LEVEL", help="Only lines at least so severe, e.g. warning."
)
@click.option("--contains", default="", help="Only lines with this text, e.g. a trace id.")
@click.option("--process", default="", help='Only those of this process, e.g. "learning-0"; "access" is the door\'s access log.')
@click.option("--full", is_flag=True, help="Show the rest of each line too; that of warnings and errors is always shown.")
@click.pass_obj
def command(
    console: Console, service: str, tail: int, min_level: str | None, contains: str, process: str, *, follow: bool, full: bool
) -> None:
    """Shows what the services log: the newest lines, oldest of them first; with -f every new line as it is written."""
    given = {"service": service, "process": process, "contains": contains, **({"minLevel": min_level} if min_level else {})}
    with Caller(console) as caller:
        _refuse_unknown(console, caller, service)
        if follow:
            for record in _following(caller, given | {"tail": min(tail, _LARGEST_PAGE)}):
                _show(console, caller.schema, record, full=full)
            return
        records = _newest(caller, given, tail)
        if console.json:
            console.value([printing.as_json(caller.schema, record) for record in records])
        else:
            for record in records:
                _show(console, caller.schema, record, full=full)


def _refuse_unknown(console: Console, caller: Caller, service: str) -> None:
    """Failure for a name that no service has and no line: who mistyped it would wait, or take silence for peace."""
    if service and service not in {"envoy", *(spec.name for spec in SERVICES)} and not _newest(caller, {"service": service}, 1):
        console.fail(f"there is no service named {service!r}, and no line of one", "tooloo status names them", Code.USAGE)


def _following(caller: Caller, given: dict[str, Any]) -> Iterator[Any]:
    rpc = caller.schema.rpcs[f"{_SYSTEM}/FollowLogs"]
    for answer in caller.answers(rpc, [requests.build(caller.schema, rpc, (), given)]):
        part: Any = answer
        yield from part.records


def _newest(caller: Caller, given: dict[str, Any], count: int) -> list[Any]:
    """So many of the newest lines, oldest of them first."""
    rpc, token = caller.schema.rpcs[f"{_SYSTEM}/ReadLogs"], ""
    found: list[Any] = []
    while len(found) < count:
        asked = given | {"pageSize": min(count - len(found), _LARGEST_PAGE), "pageToken": token}
        page: Any = caller.unary(rpc, requests.build(caller.schema, rpc, (), asked))
        found += page.records
        token = page.next_page_token
        if not token:
            break
    return found[::-1]


def _show(console: Console, schema: Schema, record: Any, *, full: bool) -> None:
    if console.json:
        console.line(printing.as_json(schema, record))
    else:
        click.echo(line(schema, record, full=full))


def line(schema: Schema, record: Any, *, full: bool) -> str:
    """Time, process, level and message of a log line, with `full` the rest too; an exception stands below it."""
    level = printing.scalar(schema, record.DESCRIPTOR.fields_by_name["level"], record.level)
    fields = json_format.MessageToDict(record.fields, descriptor_pool=schema.pool)
    exception = str(fields.pop("exception", ""))
    shown = fields if full or level in _SEVERE else {}
    rest = " ".join(f"{name}={_short(value)}" for name, value in sorted(shown.items()) if value not in {None, ""})
    when = record.time.ToJsonString()[11:23].rstrip("Z")
    said_by = f"{record.process or record.service:<16} {click.style(f'{level:<8}', fg=_COLORS.get(level))}"
    head = f"{click.style(when, dim=True)} {said_by}"
    said = f"{head} {record.message}{click.style(f'  {rest}', dim=True) if rest else ''}"
    return "\n".join([said, *(f"    {below}" for below in exception.splitlines())])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
