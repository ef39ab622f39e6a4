"""Where the time of a start goes: the whole mesh started again and again on a folder that it knows; medians by process.

Run with `python -m bench.boot [times]`. Times count from the start of the process manager. "imports" is the CPU of a process that
only imports the same modules; the CPU of all of them together is what also a machine that does other things beside shows.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from envoy.testing import free_ports
from mesh.catalogue import SERVICES

ROOT = Path(__file__).resolve().parent.parent
_TIMES, _IMPORTS = 5, 3
_READY = "The mesh is ready"
_MANAGER, _DOOR = "gateway", "envoy"
_MODULES = {_MANAGER: "gateway.__main__"} | {spec.name: f"{spec.module}.__main__" for spec in SERVICES if spec.module}


@dataclass(frozen=True)
class Start:
    """One process in one start: when it was spawned and ready, in seconds, and the CPU that it had used when all was ready."""

    spawned: float
    ready: float
    cpu: float


def environment(folder: Path) -> dict[str, str]:
    """Free ports and a folder of its own."""
    door, admin, *ports = free_ports(len(SERVICES) + 2)
    names = {f"TOOLOO_{spec.name.upper()}_PORT": str(port) for spec, port in zip(SERVICES, ports, strict=True)}
    own = {"TOOLOO_DATA_FOLDER": str(folder / "var"), "TOOLOO_DOOR_PORT": str(door), "TOOLOO_ADMIN_PORT": str(admin)}
    # as `make` does it: bytecode is on the disk
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **own, **names}


def start(env: dict[str, str]) -> dict[str, Start]:
    """One start of the mesh, by process."""
    began = time.time()
    mesh = subprocess.Popen([sys.executable, "-m", "gateway"], cwd=ROOT, env=env, stdout=subprocess.PIPE)
    titles = {spec.title: spec.name for spec in SERVICES} | {"Door (Envoy)": _DOOR}
    ready: dict[str, float] = {}
    try:
        for line in map(bytes.decode, mesh.stdout or ()):
            if line.startswith("✓"):
                ready[titles[line.removeprefix("✓ ").partition(" (port")[0]]] = time.time() - began
            if _READY in line:
                ready[_MANAGER] = time.time() - began
                break
        return _look(psutil.Process(mesh.pid), ready)
    finally:
        mesh.send_signal(signal.SIGINT)
        mesh.communicate()


def _look(manager: psutil.Process, ready: dict[str, float]) -> dict[str, Start]:
    modules = {spec.module: spec.name for spec in SERVICES if spec.module}
    found = {}
    for process in (manager, *manager.children()):
        name = _MANAGER if process == manager else modules.get(process.cmdline()[-1], _DOOR)
        times = process.cpu_times()
        # the kernel's own time of the start, which may be some tenths of a second off the clock, for all alike
        found[name] = Start(process.create_time() - manager.create_time(), ready[name], times.user + times.system)
    return found


def imports(module: str) -> float:
    """Seconds of CPU that a process takes that imports a module and ends."""
    taken = []
    for _ in range(_IMPORTS):
        code = f"import {module}, os; print(sum(os.times()[:2]))"
        taken.append(float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout))
    return min(taken)


def main() -> None:
    """Measures and prints."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else _TIMES
    with tempfile.TemporaryDirectory(prefix="tooloo-") as folder:
        env = environment(Path(folder))
        start(env)  # makes the folder
        starts = [start(env) for _ in range(times)]
    sys.stdout.write(f"median of {times} warm starts, seconds\n{'process':<14}{'spawned':>9}{'ready':>9}{'CPU':>9}{'imports':>9}\n")
    for name in sorted(starts[0], key=lambda name: statistics.median(each[name].ready for each in starts)):
        of = [each[name] for each in starts]
        row = [statistics.median(values) for values in zip(*((one.spawned, one.ready, one.cpu) for one in of), strict=True)]
        alone = f"{imports(_MODULES[name]):>9.2f}" if name in _MODULES else ""
        sys.stdout.write(f"{name:<14}" + "".join(f"{value:>9.2f}" for value in row) + alone + "\n")
    total = [sum(one.cpu for one in each.values()) for each in starts]
    sys.stdout.write(f"CPU of all processes {statistics.median(total):.2f}, which two cores cannot do in less than half\n")


if __name__ == "__main__":
    main()
