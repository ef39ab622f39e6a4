"""`python -m gateway.doctor [--deep]`: looks and prints the findings as JSON; `tooloo doctor` shows them."""

import dataclasses
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bus import maintenance
from envoy import binary
from gateway.doctor import installation, machine, probing
from gateway.doctor.finding import Finding
from mesh import instance, ports
from mesh.backup import snapshot_store
from mesh.instance import FolderError
from mesh.settings import MeshSettings, SettingError


def examine(*, deep: bool) -> Iterator[Finding]:
    """Everything that can be looked at; where the settings of the mesh cannot be read, what does not need them."""
    yield from _versions()
    yield from installation.settings(probing.setting_problems())
    yield from installation.unknown_names(os.environ, probing.setting_names())
    yield from installation.unknown_tables(probing.file_tables(), probing.section_names())
    yield machine.open_files(probing.open_files())
    try:
        settings = MeshSettings.load()
    except SettingError:
        return
    yield from _place(settings)
    yield from _state(settings)
    if deep:
        yield from _integrity(settings.data_folder)


def _versions() -> Iterator[Finding]:
    yield machine.python(sys.version_info[:3])
    yield machine.sqlite(sqlite3.sqlite_version)
    yield machine.envoy(binary.version(), probing.envoy_says())
    root = probing.checkout()
    stubs, library = root / "build" / "api" / ".built", root / "build" / "native" / "libtooloo_bus.so"
    yield machine.built("stubs", probing.made(stubs), probing.newest(root / "proto", "*.proto", "build_stubs.py"), "make build")
    yield machine.built("bus library", probing.made(library), probing.newest(root / "bus" / "native", "*.c", "*.h"), "make build")


def _place(settings: MeshSettings) -> Iterator[Finding]:
    disk = probing.disk(settings.data_folder)
    yield machine.space(disk)
    yield machine.file_system(disk)
    yield machine.sync(disk)
    yield from machine.clock(datetime.now(UTC), *probing.clocks(), probing.newest_file(settings.data_folder))
    yield installation.data_folder(probing.folder(settings.data_folder))
    yield installation.sockets(_socket_problem(settings))


def _socket_problem(settings: MeshSettings) -> str:
    try:
        folder = settings.sockets
    except SettingError as error:
        return str(error)
    return "" if probing.makeable(folder) else f"{folder} cannot be written"


def _state(settings: MeshSettings) -> Iterator[Finding]:
    running = None
    # a folder that cannot be used is a finding of its own
    with suppress(FolderError):
        running = instance.running(settings.data_folder)
    names = probing.port_names(settings)
    try:
        yield from installation.ports(names, ports.taken(settings.listen_address, sorted(names)), running)
    except SettingError as error:
        yield from installation.settings([str(error)])
    yield from installation.leftovers(probing.leftovers(settings.data_folder, running))
    yield from installation.keys(probing.key_files(settings.data_folder))


def _integrity(folder: Path) -> Iterator[Finding]:
    """Reads every database from one end to the other, also while the mesh runs."""
    for path in sorted(folder.glob("*/*.db")):
        # an empty file is one that a service has just made
        if path.stat().st_size:
            wrong = maintenance.verify(path) if path.name == "log.db" else snapshot_store.faults(path, live=True)
            yield installation.integrity(str(path.relative_to(folder)), wrong)


def main() -> int:
    """Prints the findings as a JSON list."""
    found = [dataclasses.asdict(each) for each in examine(deep="--deep" in sys.argv[1:])]
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
