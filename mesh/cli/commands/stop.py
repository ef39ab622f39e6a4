"""Takes services from the door, drains and stops them."""

import click

from mesh.cli import managing
from mesh.cli.console import Console
from mesh.cli.sharing import Command


@click.command(cls=Command)
@click.argument("services", nargs=-1, required=True, type=managing.ServiceName())
@click.pass_obj
def command(console: Console, services: tuple[str, ...]) -> None:
    """Takes services from the door, drains and stops them."""
    managing.tell(console, [managing.change(console, "StopService", "stopping", name) for name in services])
