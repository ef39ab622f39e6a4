"""The command that every other one is made of: it has the options that all share, at any place of the line."""

import click

from mesh.cli.console import Console


def _json_given(context: click.Context, option: click.Parameter, given: bool) -> None:
    console = context.find_object(Console)
    if given and console:
        console.json = True


def _door_given(context: click.Context, option: click.Parameter, given: str) -> None:
    console = context.find_object(Console)
    if given and console:
        console.door = given


SHARED = (
    click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_json_given,
        help="Print JSON, and nothing else, on stdout.",
    ),
    click.Option(
        ["--door"],
        metavar="HOST:PORT",
        expose_value=False,
        is_eager=True,
        callback=_door_given,
        help="Where the door of the mesh is; as the settings say by default.",
    ),
)


class Command(click.Command):
    """A click command with the shared options behind its own."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, the shared options, --help; one that has an option of a shared one's name keeps its own."""
        params = super().get_params(ctx)
        taken = {name for param in params for name in param.opts}
        own = len(self.params)
        return [*params[:own], *(option for option in SHARED if not taken & set(option.opts)), *params[own:]]
