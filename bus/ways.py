"""The ways of running the bus, as data: what each stands on, how it keeps the promises, and what it cannot do.

`python -m bus.ways` prints the table of docs/ways.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Way:
    """One way of running the bus; a call that it `cannot` answer is refused with UNIMPLEMENTED, NOT_SUPPORTED_BY_LOG."""

    name: str
    start: str
    durability: str
    order: str
    uniqueness: str
    versions: str
    retention: str
    erasing: str
    no_room: str
    owner: str
    tools: str
    cannot: Mapping[str, str] = field(default_factory=dict)


_FILE_WINDOW = "the newest `TOOLOO_BUS_UNIQUE_COUNT` events, at most `TOOLOO_BUS_UNIQUE_AGE` old; kept in the file"
_VERSIONS = "as long as the log is, also when retention has deleted the event"
_FILE_ERASING = "overwritten in the file, and the write-ahead log is cut"
_NO_ROOM = "publishes are refused (DISK_FULL), reads and acknowledgements go on, and it heals by itself"
_FILE_TOOLS = "`python -m bus.maintenance verify` and `backup`"
_ONE_FILE = "one total order, one file"

IN_PROCESS = Way(
    "in process",
    "`async with bus.local.open_bus(path) as client:`",
    "DURABILITY_FSYNC; DURABILITY_MEMORY without a path",
    _ONE_FILE,
    _FILE_WINDOW,
    _VERSIONS,
    "age, bytes, count, type, compaction",
    _FILE_ERASING,
    _NO_ROOM,
    "the process that has the file open",
    _FILE_TOOLS,
)
SQLITE = Way(
    "gRPC on SQLite",
    "`TOOLOO_BUS_WAY=sqlite` (default)",
    "DURABILITY_FSYNC",
    _ONE_FILE,
    _FILE_WINDOW,
    _VERSIONS,
    "age, bytes, count, type, compaction",
    _FILE_ERASING,
    _NO_ROOM,
    "the bus process",
    _FILE_TOOLS,
)
JETSTREAM = Way(
    "gRPC on JetStream",
    "`TOOLOO_BUS_WAY=jetstream`, `TOOLOO_BUS_NATS_...`",
    "DURABILITY_FSYNC with one replica, DURABILITY_QUORUM_FSYNC with three or five",
    "one total order, one stream",
    "the newest `TOOLOO_BUS_NATS_UNIQUE_COUNT` events; read again from the stream at each start, of what is gone from its notes",
    _VERSIONS,
    "age, count, type, compaction; bytes by the mean size of an event",
    "overwritten in the stream (NATS's secure delete); with replicas it may stand in their replication logs until these are cut",
    f"{_NO_ROOM}; that is when a limit of NATS is reached: on a disk that is really full NATS itself stops",
    "one bus process at a time, by a lease; another takes over when it is gone",
    "`nats stream view`, `nats kv get`, `nats stream backup`",
)
WAYS: Sequence[Way] = (IN_PROCESS, SQLITE, JETSTREAM)

_ROWS = (
    ("started with", "start"),
    ("an acknowledgement says", "durability"),
    ("order", "order"),
    ("a repeat is known within", "uniqueness"),
    ("the version of a subject is known", "versions"),
    ("retention by", "retention"),
    ("what is erased is", "erasing"),
    ("when there is no room", "no_room"),
    ("written by", "owner"),
    ("looked at from outside with", "tools"),
)


def table() -> str:
    """The ways side by side, as Markdown."""
    lines = ["| | " + " | ".join(way.name for way in WAYS) + " |", "| --- |" + " --- |" * len(WAYS)]
    lines += [f"| {title} | " + " | ".join(getattr(way, name) for way in WAYS) + " |" for title, name in _ROWS]
    lines.append("| refuses | " + " | ".join(_refusals(way) for way in WAYS) + " |")
    return "\n".join(lines) + "\n"


def _refusals(way: Way) -> str:
    return "; ".join(f"`{call}`: {why}" for call, why in way.cannot.items()) or "nothing"


if __name__ == "__main__":
    sys.stdout.write(table())
