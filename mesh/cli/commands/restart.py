"""Starts services anew, beside their old replicas where they can be scaled, so that no call fails."""

import click

from mesh.cli import managing
from mesh.cli.console import Console
from mesh.cli.sharing import Command


@click.command(cls=Command)
@click.argument("services", nargs=-1, required=True, type=managing.ServiceName())
@click.pass_obj
def command(console: Console, services: tuple[str, ...]) -> None:
    """Starts services anew, beside their old replicas where they can be scaled, so that no call fails."""
    managing.tell(console, [managing.change(console, "RestartService", "restarting", name) for name in services])
