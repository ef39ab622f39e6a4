"""The bus beside the brokers people would pick instead, in one run: `python -m bench.bus [--places tmpfs,disk] [--scenarios a,h]`.

Everybody has its server in a process of its own on this machine, Python clients in processes of their own, 256-byte events and the
same durability: an fsync before each acknowledgement, or group of them. Ours has its default settings: uniqueness, checksums and
durable acks are on. It is measured by the peers' own harness (bench/bus/shared.py); it listens on a unix socket, they on loopback.
The ratio is ours to the better of NATS and Redis. Before each table stands how long the machine itself makes a processor stand
still, which nobody's slowest thousandth can be below. On a quiet machine both places take eight minutes. Where the machine's own
speed moves from minute to minute, `--rounds 3` lets everybody take turns; the best figure of each counts.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import pauses
from bench.bus import in_process, peers, shared, table
from bench.bus.adapter import Adapter
from bench.bus.bar import OURS
from bench.bus.worker import worker_class

SIZE = 256
_MEMORY = Path("/dev/shm")  # noqa: S108 # the standard place of tmpfs; the folder in it is made safely
_ONE_AT_A_TIME = 5_000
# the harness's settings: counts, seconds and how much foreign load is tolerated, the same for everybody
_COUNTS = {
    "n_one": _ONE_AT_A_TIME, "n_many": 100_000, "n_fan": 30_000, "n_replay": 200_000, "subs": 6, "rate": 1_000, "seconds_c": 8,
    "max_s": 60, "quiet": 0.15, "quiet_wait": 2,
}  # fmt: skip


def ours(scenarios: str, folder: Path, tries: int) -> dict[str, Any]:
    """What the harness measures of our bus."""
    harness = shared.harness()
    harness.Worker = worker_class()
    options = argparse.Namespace(
        **_COUNTS, tries=tries, dir=str(folder), sizes=[SIZE], modes=None, all_modes_c=True, keep=False, uvloop=True
    )
    result: dict[str, Any] = harness.run_scenarios(OURS, Adapter, "default", scenarios.split(","), options)
    return result


def alone(folder: Path) -> None:
    """What can be said without the harness."""
    _say(
        f"{shared.FOLDER} holds no harness of the peers (TOOLOO_BENCH_PEERS names another folder): ours alone, and in process only"
    )
    for name, cell in in_process.measure(folder, _ONE_AT_A_TIME, SIZE).items():
        print(f"{name}: {cell['ev_s']:,} events/s one at a time, p50 {cell['p50_ms']:.3f} ms")


def everybody(scenarios: str, folder: Path, tries: int) -> dict[str, dict[str, Any]]:
    """The peers that are here, then ours, one after the other; what is missing is said."""
    results = {}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in _COUNTS.items()]
    arguments += [f"--sizes={SIZE}", f"--tries={tries}"]
    for peer in peers.PEERS:
        if peer.is_there():
            _say(f"  {peer.name} …")
            results[peer.name] = peers.measure(peer, scenarios, folder, arguments)
        else:
            _say(f"  {peer.name} is not on this machine: {peer.how}")
    _say(f"  {OURS} …")
    results[OURS] = ours(scenarios, folder, tries) | in_process.measure(folder, _ONE_AT_A_TIME, SIZE)
    return results


def compare(scenarios: str, places: dict[str, Path], tries: int, rounds: int) -> None:
    """One table a place."""
    for place, parent in places.items():
        _say(f"measuring on {place}")
        before = f"before anything ran, {pauses.measure()}"
        with tempfile.TemporaryDirectory(prefix="tooloo-bench-", dir=parent) as folder:
            if shared.is_there():
                turns = [everybody(scenarios, Path(folder), tries) for _ in range(rounds)]
                results = {name: [turn[name] for turn in turns] for name in turns[0]}
                print("\n".join(["", before, *table.rows(place, results), ""]), flush=True)
            else:
                alone(Path(folder))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", default="tmpfs,disk", help="where the data lies")
    parser.add_argument("--scenarios", default="a,h,b,c,d,e,f", help="letters of the harness")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on a real disk")
    parser.add_argument("--tries", type=int, default=2, help="runs of a scenario that foreign load disturbs; the quietest counts")
    parser.add_argument("--rounds", type=int, default=1, help="turns that everybody takes; the best figure of each counts")
    options = parser.parse_args()
    places = {"tmpfs": _MEMORY, "disk": options.disk}
    if unknown := sorted(set(options.places.split(",")) - set(places)):
        parser.error(f"no place is named {unknown[0]}; there are {', '.join(places)}")
    compare(options.scenarios, {place: places[place] for place in options.places.split(",")}, options.tries, options.rounds)


if __name__ == "__main__":
    main()
