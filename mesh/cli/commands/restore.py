"""Puts a backup in place of the data of this data folder; what is there is put aside, never deleted."""

from __future__ import annotations

from pathlib import Path

import click

from mesh import instance
from mesh.backup import restoring
from mesh.backup.manifest import BadBackupError
from mesh.cli.console import Code, Console
from mesh.cli.sharing import Command
from mesh.settings import given


@click.command(cls=Command)
@click.argument("backup", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also where there is data: that is put aside, into replaced/ in the data folder.")
@click.pass_obj
def command(console: Console, backup: Path, force: bool) -> None:
    """Restores BACKUP, what `tooloo backup` made, into the data folder of the settings. The mesh must not run.

    Followers outside of the mesh that have gone beyond the backup must begin anew after its last position: what stands beyond is
    given again, to other events.
    """
    if given("bus", "way") == "jetstream":
        console.fail(
            "the event log is in NATS JetStream, which a backup does not hold: services and log would be of different moments",
            "unset TOOLOO_BUS_WAY to restore a backup of a bus on SQLite; one of NATS is restored by nats stream restore",
            Code.USAGE,
        )
    folder = console.settings.data_folder.absolute()
    if found := instance.running(folder):
        console.fail(f"a mesh runs on {folder} (process {found.pid})", "stop it first: tooloo down")
    try:
        with console.progress("checking the backup") as bar:
            done = restoring.restore(backup.absolute(), folder, bar.set, force=force)
    except BadBackupError as error:
        console.fail(f"{backup} cannot be restored: {error}", "nothing was changed; take another backup", Code.FAULT)
    except restoring.DataThereError as error:
        console.fail(str(error), "restore with --force, which puts that aside, or set TOOLOO_DATA_FOLDER to another folder")
    except instance.InUseError as error:
        console.fail(str(error))
    except OSError as error:
        console.fail(f"{backup} cannot be restored now: {error}", f"make room in {folder}, then call tooloo restore again")
    head = done.manifest.head
    text = (
        f"restored {len(done.manifest.files)} files of {done.manifest.taken}, events up to position {head}; start it with tooloo up"
    )
    text += f"\nwhat was there is in {done.aside}" if done.aside else ""
    told = {"dataFolder": str(folder), "taken": done.manifest.taken, "headPosition": head}
    console.result(told | {"replaced": str(done.aside) if done.aside else None}, text)
