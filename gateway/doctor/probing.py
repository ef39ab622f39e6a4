"""What the checks are given: this machine and this installation, looked at and measured. It changes nothing."""

import os
import re
import resource
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from envoy import binary
from gateway.doctor.installation import Folder, Leftover
from gateway.doctor.machine import Disk
from gateway.reference import sections
from mesh import extra_contracts, ports
from mesh.catalogue import SERVICES
from mesh.instance import Instance
from mesh.settings import CHECKOUT, MeshSettings, Section, SettingError

_SYNCS, _SYNC_BYTES, _SYNC_LONGEST_S = 100, 4096, 3.0
_CLOCK_S = 0.2
_CALL_S = 20.0


def disk(folder: Path) -> Disk:
    """The disk under a folder, which need not be there yet."""
    there = nearest(folder)
    found = os.statvfs(there)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, kind_of(there), list(_syncs(there)))


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def kind_of(folder: Path) -> str:
    """The kind of the file system of a folder, e.g. "ext4"; "" where the kernel does not tell."""
    best, kind = 0, ""
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            # blanks and the like stand as octal numbers
            mounted = before.split()[4].encode().decode("unicode_escape")
            if len(mounted) >= best and folder.resolve().is_relative_to(mounted):
                best, kind = len(mounted), after.split()[0]
    return kind


def _syncs(folder: Path) -> Iterator[float]:
    """Milliseconds that each of some appends takes until it is on the disk, as the write-ahead log does them."""
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        until = time.monotonic() + _SYNC_LONGEST_S
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(bytes(_SYNC_BYTES))
            file.flush()
            os.fdatasync(file.fileno())
            yield (time.perf_counter() - began) * 1000
            if time.monotonic() > until:
                return


def clocks() -> tuple[float, float]:
    """What the clock of the day and the one that only grows say of the same short while."""
    wall, monotonic = time.time(), time.monotonic()
    time.sleep(_CLOCK_S)
    return time.time() - wall, time.monotonic() - monotonic


def newest_file(folder: Path) -> datetime | None:
    """When the youngest file of a folder was written."""
    times = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC) if times else None


def open_files() -> int:
    """How many files this process may have open, and those that it starts."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def envoy_says() -> str:
    """What Envoy answers when it is asked for its version; "" when it cannot be called."""
    try:
        done = subprocess.run([binary.binary(), "--version"], capture_output=True, text=True, timeout=_CALL_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def made(path: Path) -> float | None:
    """When a file was made; None when it is not there."""
    return path.stat().st_mtime if path.exists() else None


def newest(folder: Path, *patterns: str) -> float:
    """When the youngest file of these patterns was changed."""
    return max((path.stat().st_mtime for pattern in patterns for path in folder.rglob(pattern)), default=0.0)


def setting_problems() -> list[str]:
    """What keeps sections of the settings from being read, and ports that two of them name."""
    # what is said of every section, e.g. that there is no such file, is said once
    problems = list(dict.fromkeys(problem for section in sections() for problem in _problems_of(section)))
    with suppress(SettingError):
        settings = MeshSettings.load()
        problems += ports.shared(ports.of_mesh(settings))
        problems += _contract_problems(settings)
    return problems


def _problems_of(section: type[Section]) -> Iterator[str]:
    """One after the other: without the variables that one is about the next one shows."""
    environment = dict(os.environ)
    while True:
        try:
            section.load(environment)
        except SettingError as error:
            yield str(error)
            about = [name for name in environment if re.search(rf"\b{re.escape(name)}\b", str(error))]
            if not about:
                return
            for name in about:
                del environment[name]
        else:
            return


def _contract_problems(settings: MeshSettings) -> list[str]:
    try:
        extra_contracts.load(settings.extra_contracts)
    except SettingError as error:
        return [str(error)]
    return []


def setting_names() -> set[str]:
    """The environment name of every setting."""
    return {row.env for section in sections() for row in section.documented()}


def section_names() -> set[str]:
    """The table name of every section."""
    return {section.section for section in sections()}


def file_tables() -> list[str]:
    """The tables of the settings file, if there is one that can be read."""
    # TOML that is none, and bytes that are no text, are ValueErrors both
    with suppress(OSError, ValueError):
        return list(tomllib.loads(Path(os.environ.get("TOOLOO_CONFIG", "tooloo.toml")).read_text()))
    return []


def folder(path: Path) -> Folder:
    """The data folder as it stands."""
    there = nearest(path)
    status = there.stat()
    return Folder(path.absolute(), path.is_dir(), makeable(path), status.st_mode, status.st_uid == os.geteuid())


def makeable(path: Path) -> bool:
    """Whether a folder is there and can be written, or can be made: it, or one above it, may be a file."""
    there = nearest(path)
    below = path.absolute().relative_to(there).parts
    return not (below and (there / below[0]).exists()) and os.access(there, os.W_OK | os.X_OK)


def key_files(path: Path) -> dict[Path, int]:
    """The key files of a data folder and their modes."""
    return {file: file.stat().st_mode for file in path.glob("*/*.key")}


def port_names(settings: MeshSettings) -> dict[int, str]:
    """The ports of the mesh and the setting of each."""
    return {port: name for name, port in ports.of_mesh(settings).items()}


def leftovers(path: Path, running: Instance | None) -> list[Leftover]:
    """Processes that work on a data folder and belong to no running mesh."""
    own = {running.pid, *_below(running.pid)} if running else set()
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        with suppress(psutil.Error):
            command = process.info["cmdline"] or []
            name = _name(command)
            if name and process.pid not in own and _works_on(process, command, path):
                found.append(Leftover(process.pid, name))
    return found


def _below(pid: int) -> set[int]:
    with suppress(psutil.Error):
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return set()


def _name(command: Sequence[str]) -> str:
    """The name of a process of the mesh; "" of any other."""
    if command and Path(command[0]).name == "envoy":
        return "envoy"
    modules = {spec.module for spec in SERVICES if spec.module}
    return command[2] if len(command) > 2 and command[1] == "-m" and command[2] in modules else ""  # noqa: PLR2004 - python -m NAME


def _works_on(process: psutil.Process, command: Sequence[str], path: Path) -> bool:
    if _name(command) == "envoy":
        return str(path.absolute() / "envoy" / "envoy.json") in command
    given = process.environ().get("TOOLOO_DATA_FOLDER", "var")
    return bool((Path(process.cwd()) / given).resolve() == path.resolve())


def checkout() -> Path:
    """Where the mesh runs from."""
    return CHECKOUT
