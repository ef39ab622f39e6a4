"""Runs services as so many replicas; no call fails meanwhile."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from mesh.catalogue import SERVICES
from mesh.cli import managing
from mesh.cli.console import Console
from mesh.cli.sharing import Command


class Wanted(click.ParamType[tuple[str, int]]):
    """A service with the number of its replicas."""

    name = "service=replicas"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Name and number."""
        if not isinstance(value, str):
            self.fail("write SERVICE=REPLICAS, e.g. provider=3", param, ctx)
        name, _, number = value.partition("=")
        if not name or not number.isdigit():
            self.fail(f"{value!r}: write SERVICE=REPLICAS, e.g. provider=3", param, ctx)
        return name, int(number)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Services that can be scaled."""
        return [
            CompletionItem(f"{spec.name}=", help=spec.title)
            for spec in SERVICES
            if spec.scalable and spec.name.startswith(incomplete)
        ]


@click.command(cls=Command)
@click.argument("wanted", nargs=-1, required=True, metavar="SERVICE=REPLICAS...", type=Wanted())
@click.pass_obj
def command(console: Console, wanted: tuple[tuple[str, int], ...]) -> None:
    """Runs services as so many replicas, e.g. `tooloo scale provider=3 learning=2`; no call fails meanwhile."""
    changed = [managing.change(console, "ScaleService", f"scaling to {count}:", name, replicas=count) for name, count in wanted]
    managing.tell(console, changed)
