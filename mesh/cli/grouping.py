"""A group of commands that knows what was meant when a name has a typing error."""

import difflib

import click

from mesh.cli.sharing import Command

_SUGGESTIONS = 3


def near(given: str, known: list[str]) -> list[str]:
    """Names that are spelled nearly so, or hold what was given."""
    spelled = difflib.get_close_matches(given, known, n=_SUGGESTIONS)
    return spelled or [name for name in known if given in name][:_SUGGESTIONS]


class Group(Command, click.Group):
    """A click group whose refusal of an unknown name suggests near ones, and whose commands have the shared options too."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing and not name.startswith("-"):
            known = near(name, self.list_commands(ctx))
            hint = f"Did you mean {' or '.join(known)}?" if known else f"`{ctx.command_path} --help` lists them."
            ctx.fail(f"There is no command {name!r}. {hint}")
        return super().resolve_command(ctx, args)
