"""Backs up all data of this data folder, also while the mesh runs, consistent over all services."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from mesh.backup import taking
from mesh.backup.snapshot_store import NoMomentError
from mesh.cli.console import Code, Console
from mesh.cli.sharing import Command
from mesh.settings import CHECKOUT, given

_MEBIBYTE = 1024 * 1024


@click.command(cls=Command)
@click.argument("target", type=click.Path(path_type=Path))
@click.pass_obj
def command(console: Console, target: Path) -> None:
    """Backs up all data to TARGET: a new folder, or one file when it ends in .tar, .tar.gz or .tgz.

    The mesh may run and goes on: nobody can write for some milliseconds, while all files are pinned; then they are copied.
    A backup holds keys: keep it as you keep those.
    """
    if given("bus", "way") == "jetstream":
        console.fail(
            "the event log is in NATS JetStream, which cannot be pinned at the same moment as the services' files",
            "stop the mesh (tooloo down), back up NATS (nats stream backup, nats kv), copy the data folder, then start again",
            Code.USAGE,
        )
    folder = console.settings.data_folder.absolute()
    try:
        with console.progress("pinning one moment") as bar:
            made = taking.take(folder, target.absolute(), head_of, bar.set)
    except (taking.NoBackupError, NoMomentError) as error:
        console.fail(str(error))
    except OSError as error:
        console.fail(f"{target} cannot be written: {error}", "make room there, or take another place; nothing was left behind")
    text = (
        f"{target}: {len(made.files)} files, {made.size / _MEBIBYTE:.1f} MiB, events up to position {made.head}; "
        f"nobody could write for {made.pause_ms:.1f} ms"
    )
    told = {"target": str(target.absolute()), "files": len(made.files), "bytes": made.size}
    console.result(told | {"headPosition": made.head, "pauseMs": made.pause_ms, "version": made.version}, text)


def head_of(log: Path) -> int:
    """The newest position in a log, as the bus's own tool says it."""
    arguments = [sys.executable, "-m", "bus.maintenance", "head", str(log)]
    return int(subprocess.run(arguments, cwd=CHECKOUT, check=True, capture_output=True).stdout)  # noqa: S603 - our own program
