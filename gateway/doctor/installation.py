"""Checks of this installation: ports, settings, the data folder and what lies and runs there. Pure: what was seen comes in."""

import difflib
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.doctor.finding import Finding, fault, ok, warn
from mesh.instance import Instance
from mesh.ports import Taken

PREFIX = "TOOLOO_"
# read by others than the settings: which file; what manager and tests tell each other; the door, by the programs of the docs
_NO_SETTINGS = {"TOOLOO_CONFIG", "TOOLOO_SUPERVISOR", "TOOLOO_REPLICA", "TOOLOO_LOG_FILE", "TOOLOO_DOOR"}
_OF_TESTS = ("TOOLOO_TEST_", "TOOLOO_CHAOS_", "TOOLOO_FUZZ_", "TOOLOO_BENCH_")
_FOREIGN_WRITE, _FOREIGN_ANY = stat.S_IWGRP | stat.S_IWOTH, stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Folder:
    """The data folder: whether it is there, can be written, its mode, and whose it is."""

    path: Path
    exists: bool
    writable: bool
    mode: int
    own: bool


@dataclass(frozen=True)
class Leftover:
    """A process of the mesh that belongs to no running mesh."""

    pid: int
    name: str


def ports(names: Mapping[int, str], taken: Sequence[Taken], running: Instance | None) -> Iterator[Finding]:
    """Which ports are free; `names` gives the setting of each."""
    if running:
        yield ok("ports", f"the mesh of this data folder runs and holds them (process {running.pid}, door on {running.door_port})")
        return
    for each in taken:
        todo = f"stop that process, or set {names[each.port]} to another port"
        yield fault("ports", f"{each.port} is taken by {each.holder}", "the mesh will not start", todo)
    if not taken:
        yield ok("ports", f"{len(names)} free, {min(names)} to {max(names)}")


def settings(problems: Sequence[str]) -> Iterator[Finding]:
    """Values that cannot be used; each problem names the setting and what would be right."""
    for problem in problems:
        yield fault("settings", problem, "what reads it will not start", "correct it in the environment or in tooloo.toml")
    if not problems:
        yield ok("settings", "every value can be used")


def unknown_names(environment: Iterable[str], known: Collection[str]) -> Iterator[Finding]:
    """Variables that look like settings and are none."""
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and name not in _NO_SETTINGS and not name.startswith(_OF_TESTS):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            todo = f"did you mean {near[0]}? Otherwise unset it" if near else "unset it; docs/settings.md lists all"
            yield warn("settings", name, "there is no such setting, so it changes nothing", todo)


def unknown_tables(tables: Iterable[str], known: Collection[str]) -> Iterator[Finding]:
    """Tables of the settings file that no section has."""
    for name in sorted(set(tables) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        todo = f"did you mean [{near[0]}]? Otherwise remove it" if near else f"known are: {', '.join(sorted(known))}"
        yield warn("settings", f"[{name}] in the settings file", "there is no such section, so it changes nothing", todo)


def data_folder(folder: Folder) -> Finding:
    """Whether the folder of all state can be used, by us alone."""
    seen = str(folder.path)
    if not folder.writable:
        todo = "give it to the user that runs the mesh, or set TOOLOO_DATA_FOLDER to another folder"
        return fault("data folder", f"{seen} is no folder that can be written", "all state goes there", todo)
    if not folder.exists:
        return ok("data folder", f"{seen} (made at the first start)")
    if folder.mode & _FOREIGN_WRITE:
        return fault("data folder", f"{seen} may be written by others", "they could change all state", f"chmod 700 {seen}")
    if folder.mode & _FOREIGN_ANY or not folder.own:
        return warn("data folder", f"{seen} may be read by others", "they can read all events and messages", f"chmod 700 {seen}")
    return ok("data folder", seen)


def keys(modes: Mapping[Path, int]) -> Iterator[Finding]:
    """Key files and who may read them."""
    for path, mode in sorted(modes.items()):
        if mode & _FOREIGN_ANY:
            meaning = "they open what is sealed in the database: tokens and API keys"
            yield fault(
                "key files", f"{path} may be read by others", meaning, f"chmod 600 {path}; then rotate the keys that it sealed"
            )
    if not any(mode & _FOREIGN_ANY for mode in modes.values()):
        yield ok("key files", f"{len(modes)}, readable by their owner alone")


def leftovers(found: Sequence[Leftover]) -> Iterator[Finding]:
    """Processes of an earlier mesh that still run."""
    for each in found:
        meaning = "its manager is gone; it holds a socket or a file that a new mesh needs"
        yield warn("processes", f"{each.name} (pid {each.pid}) of this data folder", meaning, f"kill {each.pid}")
    if not found:
        yield ok("processes", "none left over")


def sockets(problem: str) -> Finding:
    """Whether unix sockets can be made where they belong; `problem` says what is wrong, or is empty."""
    if problem:
        return fault("sockets", problem, "the processes could not listen", "export TOOLOO_SOCKET_FOLDER=/tmp/tooloo-$USER")
    return ok("sockets", "short enough, in a folder that can be written")


def integrity(file: str, wrong: Sequence[str]) -> Finding:
    """Whether a database file is whole."""
    if wrong:
        meaning = f"{wrong[0]}{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}"
        return fault(
            "integrity",
            f"{file} is damaged",
            meaning,
            "tooloo down; tooloo restore --force the newest backup",
        )
    return ok("integrity", f"{file} is whole")
