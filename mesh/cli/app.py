"""The root of the command: finds commands by file name and services in the catalogue, and turns every end into an exit code."""

import errno
import importlib
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mesh import unheard
from mesh.catalogue import SERVICES
from mesh.cli.console import Code, Console, Failure, wants_color
from mesh.cli.grouping import Group
from mesh.cli.sharing import SHARED
from mesh.instance import FolderError

COMMANDS = Path(__file__).resolve().parent / "commands"
PROGRAM = "tooloo"
_EPILOG = "Exit codes: 0 done, 1 the mesh refused, 2 wrong usage, 3 nothing answers, 4 a check found a fault, 130 interrupted."


def command_files() -> dict[str, Path]:
    """The files of the commands by command name."""
    return {path.stem.replace("_", "-"): path for path in sorted(COMMANDS.glob("*.py")) if path.stem != "__init__"}


def headline(path: Path) -> str:
    """The first line of a module's docstring, read without importing the module."""
    with path.open(encoding="utf-8") as lines:
        return lines.readline().strip().strip('"').strip()


def _version_asked(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from mesh.version import version  # noqa: PLC0415 - reads a file

        context.ensure_object(Console).result({"version": version()}, version())
        context.exit()


class App(Group):
    """The command `tooloo` itself."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Commands by name, then the services as the catalogue has them."""
        commands = sorted(command_files())
        return [*commands, *(spec.name for spec in SERVICES if spec.name not in commands)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        if path := command_files().get(name):
            found: click.Command = importlib.import_module(f"mesh.cli.commands.{path.stem}").command
            found.name = name
            return found
        spec = next((spec for spec in SERVICES if spec.name == name), None)
        if spec is None:
            return None
        from mesh.cli.groups import ServiceGroup  # noqa: PLC0415 - reads the contracts

        return ServiceGroup(spec)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands and services apart, without importing any."""
        files = command_files()
        with formatter.section("Commands"):
            formatter.write_dl([(name, headline(path)) for name, path in files.items()])
        with formatter.section("Calls by service, made from the contracts"):
            formatter.write_dl([(spec.name, f"Calls of the {spec.title}.") for spec in SERVICES if spec.name not in files])

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override] # one way to end, not two
        """Runs a command line and ends the process with its exit code."""
        sys.exit(self.run(sys.argv[1:] if args is None else args))

    def run(self, args: Sequence[str]) -> int:
        """Runs a command line; its exit code."""
        console = Console(json="--json" in args)
        try:
            ended = super().main(args=list(args), prog_name=PROGRAM, standalone_mode=False, obj=console, color=wants_color())
        except click.Abort:
            return Code.INTERRUPTED
        except click.ClickException as error:
            return _failed(error, console)
        except FolderError as error:
            return _failed(Failure(str(error), code=Code.USAGE), console)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            unheard.let_go()
            return _failed(Failure("there is no room left for what it writes", "make room, then call it again"), console)
        return ended if isinstance(ended, int) else Code.DONE


def _failed(error: click.ClickException, console: Console) -> int:
    if not console.json:
        error.show()
    else:
        told = error if isinstance(error, Failure) else Failure(error.format_message(), code=error.exit_code)
        click.echo(json.dumps(told.as_json(), ensure_ascii=False), err=True)
    return error.exit_code


app = App(
    name=PROGRAM,
    help="Runs, asks and watches a mesh of TooLoo.",
    epilog=_EPILOG,
    params=[
        *SHARED,
        click.Option(
            ["--version"], is_flag=True, expose_value=False, callback=_version_asked, help="Show the version of this checkout."
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@dataclass(frozen=True)
class Described:
    """A command for the reference: its words after `tooloo`, its help, its options and arguments as their names and help."""

    path: tuple[str, ...]
    help: str
    options: tuple[tuple[str, str], ...]


def tree() -> Iterator[Described]:
    """Every command in the order in which it is shown, groups before what they hold; the shared options once, at the root."""
    context = click.Context(app, info_name=PROGRAM, obj=Console())
    yield from _described(app, context, (), frozenset())


def _described(command: click.Command, context: click.Context, path: tuple[str, ...], known: frozenset[str]) -> Iterator[Described]:
    options = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    own = tuple(record for record in options if record[0] not in known and record[0] != "-h, --help")
    # click's mark for lines that stay as they are means nothing elsewhere
    yield Described(path, inspect.cleandoc((command.help or "").replace("\b\n", "\n")), own)
    if isinstance(command, click.Group):
        shared = known | {record[0] for record in options} if not path else known
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _described(below, click.Context(below, parent=context, info_name=name), (*path, name), shared)
