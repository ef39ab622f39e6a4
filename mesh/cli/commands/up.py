"""Starts the whole mesh: in the foreground, or in the background until `tooloo down`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click

from mesh import instance, unheard
from mesh.cli.console import Code, Console, Failure
from mesh.cli.modules import module_environment
from mesh.cli.sharing import Command

_READY = "The mesh is ready"
_COMMAND = (sys.executable, "-m", "gateway")
_LOOK_S = 0.05
# beyond the limits of the processes themselves, which say more when they are passed
_PATIENCE_S = 300.0
_STOP_S = 60.0


@click.command(cls=Command)
@click.option("--detach", "-d", is_flag=True, help="Start it in the background, wait until it is ready, and come back.")
@click.option("--guaranteed", is_flag=True, help="Check first (tooloo doctor), and prove every service by a call afterwards.")
@click.pass_obj
def command(console: Console, detach: bool, guaranteed: bool) -> int:
    """Starts the whole mesh on the data folder of the settings. Ctrl-C stops it; from elsewhere, `tooloo down`.

    With --guaranteed it runs only when the doctor finds no fault, every service has answered a call through the door, and an event
    has been published, delivered and acknowledged; else it ends with the cause and exit code 4.
    """
    settings = console.settings
    if found := instance.running(settings.data_folder):
        console.fail(
            f"a mesh runs on {settings.data_folder.absolute()} already (process {found.pid}, door on port {found.door_port})",
            "stop it with tooloo down, or set TOOLOO_DATA_FOLDER to another folder",
        )
    if guaranteed:
        _check(console)
    if detach:
        return _start_behind(console, guaranteed=guaranteed)
    return _start_and_prove(console) if guaranteed else in_foreground()


def in_foreground() -> int:
    """Becomes the process manager, as `make dev` does; paths of the settings stay those of the folder it was called in."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(_COMMAND[0], _COMMAND, module_environment())  # noqa: S606 - our own program


def _check(console: Console) -> None:
    """Failure when the doctor finds a fault; what it warns of is said."""
    from mesh.cli.commands import doctor  # noqa: PLC0415 - only when it was asked for

    with console.progress("checking"):
        findings = [each for each in doctor.examined(console) if each["level"] != "ok"]
    for each in findings:
        console.say(f"{each['level']}: {each['check']}: {each['seen']}: {each['meaning']}\n  → {each['todo']}")
    faults = [each for each in findings if each["level"] == "fault"]
    if faults:
        console.fail(f"the doctor found faults: {len(faults)}; the mesh was not started", faults[0]["todo"], Code.FAULT)
    console.say(f"✓ checked: no fault, {len(findings)} warnings")


def _prove(console: Console) -> None:
    """Failure with the cause and the service's last words when a proof fails."""
    from mesh.cli import proving  # noqa: PLC0415 - only when it was asked for
    from mesh.cli.calling import Caller  # noqa: PLC0415 - as above

    with Caller(console, timeout=30) as caller:
        try:
            for proof in proving.prove(caller):
                console.say(f"✓ {proof.service}: {proof.said}")
        except proving.NotProvenError as error:
            raise proving.told(error, proving.last_words(caller, error.service)) from error


def _start_behind(console: Console, *, guaranteed: bool) -> int:
    data = console.settings.data_folder
    instance.make(data)
    terminal = data / "log" / "terminal.log"
    terminal.parent.mkdir(exist_ok=True)
    with terminal.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            _COMMAND, env=module_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    told = _wait_until_ready(console, process, terminal)
    if guaranteed:
        _prove_or_stop(console, process)
    shown = told.replace("Ctrl-C stops it.", "tooloo down stops it.")
    console.result({"pid": process.pid, "door": console.url, "dataFolder": str(data.absolute())}, shown)
    return Code.DONE


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


def _prove_or_stop(console: Console, process: subprocess.Popen[bytes]) -> None:
    try:
        _prove(console)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_S)
        raise


def _start_and_prove(console: Console) -> int:
    """In the foreground: shows what the mesh prints, proves it once it is ready, and stays until it ends."""
    # a session of its own: Ctrl-C is ours to pass on, once
    process = subprocess.Popen(  # noqa: S603 - our own program
        _COMMAND, env=module_environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: process.send_signal(signal.SIGTERM))
    failures: list[Failure] = []
    for line in _lines(process):
        _show(line)
        if _READY in line:
            # beside the copying, for the mesh goes on to print
            prover = threading.Thread(target=_prove_beside, args=(console, process, failures))
            prover.start()
    code = process.wait()
    if failures:
        raise failures[0]
    return Code.DONE if code == 0 else Code.UNREACHABLE


def _show(line: str) -> None:
    """What the mesh prints; nothing once nobody reads it, for the mesh goes on then without --guaranteed, too."""
    try:
        click.echo(line, nl=False)
    except OSError:
        unheard.let_go()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    for line in process.stdout or ():
        yield line.decode(errors="replace")


def _prove_beside(console: Console, process: subprocess.Popen[bytes], failures: list[Failure]) -> None:
    try:
        _prove(console)
        console.say("✓ guaranteed: every service has answered a call through the door")
    except Failure as error:
        failures.append(error)
        process.send_signal(signal.SIGTERM)
