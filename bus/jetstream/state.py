"""Where one subscription stands, as the value that the bucket keeps: JSON, so that `nats kv get` shows it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

from bus.ranges import AckState
from bus.storage import Stored

# a longer value is compressed: a message has a limit
_PLAIN_BYTES = 64 * 1024
_COMPRESSED = b"\x78"


@dataclass(frozen=True)
class Waiting:
    """An event that waits for its next delivery; `kept` when its body is kept beside it (a redriven dead letter)."""

    subject: str
    attempts: int
    due_us: int
    error: str
    kept: bool = False


@dataclass(frozen=True)
class State:
    """Definition, acks and retries of a subscription: one value, so that each change is atomic."""

    definition: bytes
    paused: bool
    floor: int
    ranges: bytes
    create_time_us: int
    epoch: int
    retries: dict[int, Waiting] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Stored, epoch: int) -> State:
        """The state of a new subscription."""
        return cls(stored.definition, stored.paused, stored.acks.floor, stored.acks.encode(), stored.create_time_us, epoch)

    def stored(self, name: str) -> Stored:
        """As the rest of the bus knows it."""
        return Stored(name, self.definition, self.paused, AckState.decode(self.floor, self.ranges), self.create_time_us)

    def with_epoch(self, epoch: int) -> State:
        """The same under another owner."""
        return replace(self, epoch=epoch)

    def encode(self, revision: int) -> bytes:
        """The value; the revision that it follows makes it unlike any other."""
        plain: dict[str, Any] = {
            "definition": base64.b64encode(self.definition).decode(),
            "paused": self.paused,
            "floor": self.floor,
            "ranges": AckState.decode(self.floor, self.ranges).ranges,
            "createTimeUs": self.create_time_us,
            "epoch": self.epoch,
            "follows": revision,
            "retries": {
                str(position): [each.subject, each.attempts, each.due_us, each.error, each.kept]
                for position, each in self.retries.items()
            },
        }
        encoded = json.dumps(plain, separators=(",", ":")).encode()
        return encoded if len(encoded) <= _PLAIN_BYTES else zlib.compress(encoded)

    @classmethod
    def decode(cls, value: bytes) -> State:
        """The inverse of encode()."""
        plain = json.loads(zlib.decompress(value) if value.startswith(_COMPRESSED) else value)
        floor = int(plain["floor"])
        return cls(
            base64.b64decode(plain["definition"]),
            bool(plain["paused"]),
            floor,
            AckState(floor, (tuple(pair) for pair in plain["ranges"])).encode(),
            int(plain["createTimeUs"]),
            int(plain["epoch"]),
            {int(position): Waiting(*each) for position, each in plain["retries"].items()},
        )
