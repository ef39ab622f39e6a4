"""Looks for what would keep the mesh from running well here; each finding says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import click

from mesh.cli.console import Cell, Code, Console
from mesh.cli.modules import module_environment
from mesh.cli.sharing import Command

_STYLES = {"ok": "green", "warn": "yellow", "fault": "red"}
_COLUMNS = ("check", "level", "seen", "meaning", "todo")


@click.command(cls=Command)
@click.option("--deep", is_flag=True, help="Also read every database from one end to the other; takes a second for some 100 MB.")
@click.pass_obj
def command(console: Console, deep: bool) -> int:
    """Checks ports, versions, disk and its syncs, clock, settings, limits, data folder, keys and leftover processes.

    Exit code 4 when it finds a fault; warnings are none.
    """
    with console.progress("looking"):
        findings = examined(console, deep=deep)
    if console.json:
        console.value(findings)
    else:
        show(console, findings)
    return Code.FAULT if any(each["level"] == "fault" for each in findings) else Code.DONE


def examined(console: Console, *, deep: bool = False) -> list[dict[str, Any]]:
    """The findings of `python -m gateway.doctor`, in a process of its own: one that cannot even start is a finding too."""
    arguments = [sys.executable, "-m", "gateway.doctor", *(["--deep"] if deep else [])]
    # the settings name files as seen from here, the modules are found in the checkout
    done = subprocess.run(arguments, env=module_environment(), capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        console.fail(f"the mesh cannot be loaded: {last[0]}", "make install build", Code.FAULT)
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


def show(console: Console, findings: Sequence[dict[str, Any]]) -> None:
    """A table of what was seen, then what to do, the gravest first."""
    rows = [(each["check"], Cell(each["level"], each["level"], _STYLES[each["level"]]), each["seen"]) for each in findings]
    console.table(_COLUMNS[:3], rows)
    for level in ("fault", "warn"):
        for each in findings:
            if each["level"] == level:
                click.secho(f"\n{each['check']}: {each['seen']}", fg=_STYLES[level])
                click.echo(f"  {each['meaning']}\n  → {each['todo']}")
