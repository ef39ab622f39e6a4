"""What every command talks through: answers on stdout, remarks on stderr, one way to fail, and the exit codes."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from mesh.address import here

if TYPE_CHECKING:
    from mesh.cli.progress import Progress
    from mesh.settings import MeshSettings


class Code(IntEnum):
    """How a command ends."""

    DONE = 0
    # the mesh refused the call, or the call failed
    REFUSED = 1
    # the command line, or a setting, cannot be used
    USAGE = 2
    # nothing answers there
    UNREACHABLE = 3
    # a check found a fault
    FAULT = 4
    INTERRUPTED = 130


@dataclass(frozen=True)
class Cell:
    """A table's cell that programs and people read differently, e.g. bytes and "41 MB"; `style` is a colour's name for click."""

    value: object
    text: str
    style: str = ""


class Failure(click.ClickException):
    """The end of a command that did not do what was asked: what is wrong, what to do next, and the exit code.

    `detail` is what programs get beside it under --json.
    """

    def __init__(
        self,
        message: str,
        next_step: str = "",
        code: int = Code.REFUSED,
        detail: Mapping[str, Any] | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.code = code
        self.detail = detail or {}
        self.lines = lines

    @property
    def exit_code(self) -> int:  # type: ignore[override] # click gives it to a class, we to each failure
        """The exit code."""
        return int(self.code)

    def show(self, file: IO[Any] | None = None) -> None:
        """Says it to a person, on stderr."""
        click.secho(f"✗ {self.message}", err=True, fg="red")
        for line in self.lines:
            click.echo(f"  {line}", err=True)
        if self.next_step:
            click.echo(f"  → {self.next_step}", err=True)

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        told: dict[str, Any] = {"message": self.message, **self.detail}
        return {"error": told | ({"nextStep": self.next_step} if self.next_step else {})}


class Console:
    """Where a command's words go. Under `json` stdout holds nothing but JSON: one value, or one a line for a stream."""

    def __init__(self, *, json: bool = False, door: str = "") -> None:
        self.json = json
        self.door = door

    @cached_property
    def settings(self) -> "MeshSettings":
        """The settings of the mesh as this process sees them; Failure for one that cannot be used."""
        from mesh.settings import MeshSettings, SettingError  # noqa: PLC0415 - what a help page needs not is not loaded

        try:
            return MeshSettings.load()
        except SettingError as error:
            raise Failure(str(error), "correct it in the environment or in tooloo.toml", Code.USAGE) from error

    @property
    def target(self) -> str:
        """Host and port of the door: as given by --door, else by the settings."""
        if self.door:
            return self.door
        return f"{here(self.settings.listen_address)}:{self.settings.door_port}"

    @property
    def url(self) -> str:
        """Address of the door for browsers and curl."""
        return f"http://{self.target.replace('127.0.0.1', 'localhost')}"

    @property
    def on_terminal(self) -> bool:
        """True when a person reads stdout."""
        return sys.stdout.isatty()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; for programs a list of objects by column name."""
        if self.json:
            self.value([dict(zip(columns, map(_value, row), strict=True)) for row in rows])
            return
        from mesh.cli import tables  # noqa: PLC0415 - rich is loaded only when a table is drawn

        tables.draw(columns, rows, terminal=self.on_terminal)

    def result(self, mapping: Mapping[str, Any], text: str) -> None:
        """The answer: `mapping` for programs, `text` for people."""
        if self.json:
            self.value(mapping)
        else:
            click.echo(text)

    def write(self, text: str) -> None:
        """Text as it is, without a line's end of ours."""
        click.echo(text, nl=False)

    def value(self, value: object) -> None:
        """One JSON value on stdout, whatever the mode."""
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))

    def line(self, value: object) -> None:
        """One JSON value on one line, at once: an element of a stream."""
        click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def say(self, text: str) -> None:
        """A remark to a person; programs do not get it."""
        if not self.json:
            click.echo(text, err=True)

    @contextmanager
    def progress(self, label: str, total: float | None = None) -> Iterator["Progress"]:
        """A progress bar on stderr while the block runs; nothing where stderr is no terminal, or JSON goes to the same one."""
        from mesh.cli import progress  # noqa: PLC0415 - rich is loaded only when a bar is drawn

        visible = sys.stderr.isatty() and not (self.json and self.on_terminal)
        with progress.shown(label, total, visible=visible) as bar:
            yield bar

    @contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """A spinner on stderr while the block runs, once it takes longer than a moment; nothing where stderr is no terminal."""
        if self.json or not sys.stderr.isatty():
            yield
            return
        from mesh.cli import progress  # noqa: PLC0415 - needs a thread

        with progress.spinning(label):
            yield

    def confirm(self, question: str, consequence: str) -> None:
        """Asks before something is done; where nobody can be asked, the command fails with what it would do."""
        if self.json or not sys.stdin.isatty():
            self.fail(consequence, "say so with --yes", Code.USAGE)
        click.confirm(question, abort=True, err=True)

    def fail(self, message: str, next_step: str = "", code: int = Code.REFUSED) -> NoReturn:
        """Ends the command: what is wrong, what to do next, and with which exit code."""
        raise Failure(message, next_step, code)


def _value(cell: object) -> object:
    return cell.value if isinstance(cell, Cell) else cell


def wants_color() -> bool | None:
    """False where NO_COLOR (no-color.org) is set; None leaves it to whether a terminal is there."""
    return False if os.environ.get("NO_COLOR") else None
