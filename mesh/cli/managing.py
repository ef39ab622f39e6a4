"""Changes of the process manager for the commands that start, stop, restart and scale services."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import click
from click.shell_completion import CompletionItem

from mesh.catalogue import SERVICES
from mesh.cli import printing
from mesh.cli.calling import Caller
from mesh.cli.console import Console

_SYSTEM = "tooloo.system.v1.SystemService"
# a service drains and boots meanwhile
_TIMEOUT = 120.0


class ServiceName(click.ParamType[str]):
    """The name of a service of the catalogue; one that it does not have is left to the mesh to refuse."""

    name = "service"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of services."""
        return [CompletionItem(spec.name, help=spec.title) for spec in SERVICES if spec.name.startswith(incomplete)]


def change(console: Console, verb: str, doing: str, service: str, **fields: Any) -> dict[str, Any]:
    """Asks the process manager for a change of one service and waits for it; how the service does then."""
    with Caller(console, _TIMEOUT) as caller, console.waiting(f"{doing} {service}"):
        answer = caller.call(f"{_SYSTEM}/{verb}", service=service, request_id=str(uuid4()), **fields)
        return printing.as_json(caller.schema, answer.health)


def tell(console: Console, healths: list[dict[str, Any]]) -> None:
    """How the changed services do now."""
    if console.json:
        console.value({"services": healths})
        return
    for health in healths:
        state = health["state"].removeprefix("SERVING_STATE_").lower().replace("_", "-")
        click.echo(
            f"{health['service']}: {state}, {health['servingReplicas']}/{health['wantedReplicas']} replicas, port {health['port']}"
        )
