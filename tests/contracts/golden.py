"""The golden events: bytes as they were once stored, which every later version must read as they were meant.

`python -m tests.contracts.golden` writes the files of event types that have none yet, and never touches one that is there: a log
keeps its events for years, so the bytes of yesterday are the test. Commit what it writes together with the new event.
"""

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tooloo.event.v1 import event_pb2

from mesh import contracts
from tests.contracts.samples import event_of

FOLDER = Path(__file__).parent / "golden"


def bytes_file(event_type: str) -> Path:
    """Where the stored bytes of an event are."""
    return FOLDER / f"{event_type}.binpb"


def meaning_file(event_type: str) -> Path:
    """Where it is written what they mean."""
    return FOLDER / f"{event_type}.json"


def meaning(event: event_pb2.Event) -> Any:
    """What an event says, as JSON."""
    contracts.pool()
    return json_format.MessageToDict(event)


def write_missing() -> list[str]:
    """Writes the files of event types that have none; returns their names."""
    FOLDER.mkdir(exist_ok=True)
    written = []
    for name, entry in contracts.catalogue().items():
        if not bytes_file(name).exists():
            event = event_of(entry)
            bytes_file(name).write_bytes(event.SerializeToString(deterministic=True))
            meaning_file(name).write_text(json.dumps(meaning(event), indent=1, sort_keys=True) + "\n")
            written.append(name)
    return written


if __name__ == "__main__":
    sys.stdout.write("".join(f"wrote {name}\n" for name in write_missing()) or "every event type has its golden files\n")
