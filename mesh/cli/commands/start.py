"""Starts services that were stopped."""

import click

from mesh.cli import managing
from mesh.cli.console import Console
from mesh.cli.sharing import Command


@click.command(cls=Command)
@click.argument("services", nargs=-1, required=True, type=managing.ServiceName())
@click.pass_obj
def command(console: Console, services: tuple[str, ...]) -> None:
    """Starts services that were stopped."""
    managing.tell(console, [managing.change(console, "StartService", "starting", name) for name in services])
