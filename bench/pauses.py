"""How long this machine makes a processor stand still by itself: what is seldom slower than a millisecond may be the machine's.

`python -m bench.pauses [seconds]`. A process on each processor does nothing but read the clock; what lies between two readings is
the machine's: its kernel, its hypervisor, a neighbour.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

# shorter ones are anybody's interrupt
_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class Pauses:
    """Pauses of at least a millisecond, of all processors together."""

    a_second: float
    longest_ms: float

    def __str__(self) -> str:
        """A sentence."""
        if not self.a_second:
            return "no processor stood still for a millisecond"
        return (
            f"a processor stood still for 1 ms or longer {self.a_second:.1f} times a second, for {self.longest_ms:.1f} ms at most"
        )


def measure(seconds: float = 3.0) -> Pauses:
    """Watches every processor for so long."""
    watching = [
        subprocess.Popen([sys.executable, __file__, str(processor), str(seconds)], stdout=subprocess.PIPE)
        for processor in sorted(os.sched_getaffinity(0))
    ]
    found = [pause for process in watching for pause in json.loads(process.communicate()[0])]
    return Pauses(len(found) / seconds, max(found, default=0.0) * 1e3)


def _watch(processor: int, seconds: float) -> list[float]:
    """The pauses of one processor, in seconds."""
    os.sched_setaffinity(0, {processor})
    found = []
    before = time.perf_counter()
    end = before + seconds
    while before < end:
        now = time.perf_counter()
        if now - before >= _LEAST_SECONDS:
            found.append(now - before)
        before = now
    return found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(_watch(int(sys.argv[1]), float(sys.argv[2]))))
    else:
        print(measure(*map(float, sys.argv[1:])))
