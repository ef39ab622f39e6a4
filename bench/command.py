"""How long the command `tooloo` takes from start to end, beside what Python, gRPC and a Go program take, in turns in one run.

`python -m bench.command [rounds]`. The bar is 250 ms. Processor time is told beside the
wall clock's, for on a machine that does other things only the former says anything.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.mesh import running_mesh

BIN = Path(sys.executable).parent
ROUNDS = 15
BAR_MS = 250
PEERS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    'python -c "import click"': [sys.executable, "-c", "import click"],
    'python -c "import grpc"': [sys.executable, "-c", "import grpc"],
    "every stub of the contracts": [sys.executable, "-c", "from mesh import contracts; contracts.methods()"],
    "buf --version": [str(BIN / "buf"), "--version"],
}
OURS = {
    " ".join(["tooloo", *words]): [str(BIN / "tooloo"), *words]
    for words in (
        ["--help"],
        ["provider", "--help"],
        ["provider", "select", "--help"],
        ["status"],
        ["provider", "select", "--query", "hi"],
        ["events", "read", "--last", "10"],
    )
}
COMPLETING = {"a press of TAB": [str(BIN / "tooloo")]}
# what bash sets when TAB is pressed behind `tooloo provider sel`
TAB = {"_TOOLOO_COMPLETE": "bash_complete", "COMP_WORDS": "tooloo provider sel", "COMP_CWORD": "2"}


@dataclass
class Times:
    """Milliseconds of the runs of one program."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def once(command: Sequence[str], env: Mapping[str, str], times: Times) -> None:
    """Runs a program to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, cwd=BIN.parent.parent, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    times.wall.append((time.perf_counter() - began) * 1000)
    times.processor.append((used.ru_utime + used.ru_stime) * 1000)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


def measure(rounds: int) -> dict[str, Times]:
    """Every program in turns; the first round is for the disk's cache and does not count."""
    programs = PEERS | OURS | COMPLETING
    measured = {name: Times() for name in programs}
    with tempfile.TemporaryDirectory() as folder, running_mesh(Path(folder) / "var") as mesh:
        env = {name: value for name, value in mesh.env.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for turn in range(rounds + 1):
            for name, command in programs.items():
                extra = TAB if name in COMPLETING else {}
                once(command, {**env, **extra}, measured[name] if turn else Times())
    return measured


def main() -> int:
    """Prints the table; 1 when the bar is missed."""
    measured = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    print(f"{'program':<36}{'p50 ms':>8}{'least ms':>10}{'CPU ms':>8}")
    for name, times in measured.items():
        p50, processor = statistics.median(times.wall), statistics.median(times.processor)
        print(f"{name:<36}{p50:>8.0f}{min(times.wall):>10.0f}{processor:>8.0f}")
    late = [name for name in OURS if statistics.median(measured[name].wall) > BAR_MS]
    print(f"missed the bar of {BAR_MS} ms: {', '.join(late)}" if late else f"all within {BAR_MS} ms")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
