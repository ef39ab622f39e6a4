"""Shows how every service does: state, port, replicas, restarts, memory, lag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import click

from mesh.cli import printing
from mesh.cli.calling import Caller
from mesh.cli.console import Cell, Code, Console, Failure
from mesh.cli.sharing import Command

_SYSTEM = "tooloo.system.v1.SystemService"
_COLUMNS = ("service", "state", "port", "replicas", "restarts", "memory", "lag")
_MEBIBYTE = 1024 * 1024
_SERVING = "serving"


@click.command(cls=Command)
@click.pass_obj
def command(console: Console) -> int:
    """Shows how every service does: state, port, replicas, restarts, memory, lag of its subscriptions.

    Exit code 4 when not all of them serve, 3 when nothing answers.
    """
    with Caller(console) as caller:
        health = caller.call(f"{_SYSTEM}/GetHealth")
        processes = caller.call(f"{_SYSTEM}/ListProcesses").processes
        lag = _lag(caller)
        state = printing.scalar(caller.schema, health.DESCRIPTOR.fields_by_name["state"], health.state)
        rows = [*_services(caller, health.services, processes, lag), *_others(caller, health.services, processes, console)]
    console.table(_COLUMNS, rows)
    return Code.DONE if state == _SERVING else Code.FAULT


def _lag(caller: Caller) -> Mapping[str, int] | None:
    """Backlog by subscription; None when the bus does not say."""
    try:
        found = caller.call("tooloo.bus.v1.EventBus/ListSubscriptions", page_size=1000).subscriptions
    except Failure:
        return None
    return {each.name: each.backlog for each in found}


def _services(
    caller: Caller, services: Iterable[Any], processes: Iterable[Any], lag: Mapping[str, int] | None
) -> Iterable[list[Cell]]:
    by_service = defaultdict(list)
    for process in processes:
        by_service[process.service].append(process)
    for service in services:
        own = by_service[service.service]
        replicas = f"{service.serving_replicas}/{service.wanted_replicas}"
        yield [
            _text(service.service),
            _state(caller, service),
            Cell(service.port, str(service.port)),
            Cell({"serving": service.serving_replicas, "wanted": service.wanted_replicas}, replicas),
            _sum(each.restarts for each in own),
            _memory(own),
            _behind(service.service, lag),
        ]


def _others(caller: Caller, services: Iterable[Any], processes: Iterable[Any], console: Console) -> Iterable[list[Cell]]:
    """Processes that belong to no service: the door."""
    known = {each.service for each in services}
    for process in processes:
        if process.service not in known:
            port = int(console.target.rsplit(":", 1)[-1])
            replicas = Cell({"serving": 1, "wanted": 1}, "1/1")
            restarts, memory = _sum([process.restarts]), _memory([process])
            yield [
                _text(process.service),
                _state(caller, process),
                Cell(port, str(port)),
                replicas,
                restarts,
                memory,
                Cell(None, "-"),
            ]


def _text(value: str) -> Cell:
    return Cell(value, value)


def _state(caller: Caller, message: Any) -> Cell:
    field = message.DESCRIPTOR.fields_by_name["state"]
    text = printing.scalar(caller.schema, field, message.state)
    return Cell(text, text, printing.style_of(text))


def _sum(numbers: Iterable[int]) -> Cell:
    total = sum(numbers)
    return Cell(total, str(total), "yellow" if total else "")


def _memory(processes: Iterable[Any]) -> Cell:
    """Resident memory; a service that does not run has none to show."""
    total = sum(each.memory_bytes for each in processes)
    return Cell(total, f"{total / _MEBIBYTE:.0f} MiB") if total else Cell(None, "-")


def _behind(service: str, lag: Mapping[str, int] | None) -> Cell:
    """Events that its subscriptions have not settled; "?" when the bus does not say."""
    if lag is None:
        return Cell(None, "?")
    own = [count for name, count in lag.items() if name == service or name.startswith(f"{service}-")]
    return Cell(sum(own), str(sum(own))) if own else Cell(None, "-")
