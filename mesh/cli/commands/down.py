"""Stops the mesh of this data folder: the door first, then the services, then the bus; running calls may end."""

from __future__ import annotations

import os
import signal
import time

import click

from mesh import instance
from mesh.cli.console import Code, Console
from mesh.cli.sharing import Command
from mesh.instance import Instance

_LOOK_S = 0.05


@click.command(cls=Command)
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to wait for the end.")
@click.pass_obj
def command(console: Console, timeout: float) -> None:
    """Stops the mesh of the data folder of the settings and waits for its end. Nothing to do when none runs."""
    folder = console.settings.data_folder
    found = instance.running(folder)
    if found is None:
        console.result({"stopped": False}, f"no mesh runs on {folder.absolute()}")
        return
    began = time.monotonic()
    _tell(console, found)
    with console.progress("draining and stopping"):
        while instance.running(folder) == found:
            if time.monotonic() - began > timeout:
                console.fail(
                    f"process {found.pid} has not ended after {timeout:g} s",
                    f"wait longer with --timeout, see {folder / 'log' / 'system.jsonl'}, or end it by force: kill -9 {found.pid}",
                    Code.UNREACHABLE,
                )
            time.sleep(_LOOK_S)
    seconds = round(time.monotonic() - began, 1)
    console.result({"stopped": True, "pid": found.pid, "seconds": seconds}, f"stopped after {seconds} s")


def _tell(console: Console, found: Instance) -> None:
    """Asks the process to stop; one that is not the one that wrote the file is left alone."""
    if not found.alive:
        console.fail("a mesh is just starting or ending on this data folder", "try again in a moment", Code.UNREACHABLE)
    try:
        os.kill(found.pid, signal.SIGTERM)
    except PermissionError:
        console.fail(f"process {found.pid} belongs to another user", "call tooloo down as that user")
