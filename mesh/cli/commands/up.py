"""Starts the whole mesh: in the foreground, or in the background until `tooloo down`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

from mesh import instance
from mesh.cli.console import Code, Console
from mesh.cli.modules import module_environment

_READY = "The mesh is ready"
_COMMAND = (sys.executable, "-m", "gateway")
_LOOK_S = 0.05
# beyond the limits of the processes themselves, which say more when they are passed
_PATIENCE_S = 300.0


@click.command
@click.option("--detach", "-d", is_flag=True, help="Start it in the background, wait until it is ready, and come back.")
@click.pass_obj
def command(console: Console, detach: bool) -> None:
    """Starts the whole mesh on the data folder of the settings. Ctrl-C stops it; from elsewhere, `tooloo down`."""
    settings = console.settings
    if found := instance.running(settings.data_folder):
        console.fail(
            f"a mesh runs on {settings.data_folder.absolute()} already (process {found.pid}, door on port {found.door_port})",
            "stop it with tooloo down, or set TOOLOO_DATA_FOLDER to another folder",
        )
    if detach:
        _start_behind(console)
    else:
        in_foreground()


def in_foreground() -> None:
    """Becomes the process manager, as `make dev` does; paths of the settings stay those of the folder it was called in."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(_COMMAND[0], _COMMAND, module_environment())  # noqa: S606 - our own program


def _start_behind(console: Console) -> None:
    folder = console.settings.data_folder / "log"
    folder.mkdir(parents=True, exist_ok=True)
    terminal = folder / "terminal.log"
    with terminal.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            _COMMAND, env=module_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    told = _wait_until_ready(console, process, terminal)
    shown = told.replace("Ctrl-C stops it.", "tooloo down stops it.")
    console.result({"pid": process.pid, "door": console.url, "dataFolder": str(console.settings.data_folder.absolute())}, shown)


def _wait_until_ready(console: Console, process: subprocess.Popen[bytes], terminal: Path) -> str:
    """What it has printed when it is ready; Failure with that when it ends before."""
    until = time.monotonic() + _PATIENCE_S
    with console.progress("starting the mesh"):
        while _READY not in (text := terminal.read_text(errors="replace")):
            if process.poll() is not None:
                console.fail(f"the mesh did not start:\n{text.rstrip()}", "tooloo doctor looks for the cause", Code.UNREACHABLE)
            if time.monotonic() > until:
                step = f"see {terminal}; tooloo down stops what runs"
                console.fail(f"the mesh is not ready after {_PATIENCE_S:.0f} s", step, Code.UNREACHABLE)
            time.sleep(_LOOK_S)
    return text.rstrip()
