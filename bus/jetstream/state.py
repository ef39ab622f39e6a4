"""Where one subscription stands, as the value that the bucket keeps: JSON, so that `nats kv get` shows it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bus.jetstream.retries import Waiting
from bus.ranges import AckState
from bus.storage import Stored


@dataclass(frozen=True)
class State:
    """Definition and acks of a subscription, and its retries, which the bucket keeps under keys of their own."""

    definition: bytes
    paused: bool
    floor: int
    ranges: bytes
    create_time_us: int
    epoch: int
    retries: Mapping[int, Waiting] = field(default_factory=dict)

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
        """The value, without the retries; the revision that it follows makes it unlike any other."""
        plain: dict[str, Any] = {
            "definition": base64.b64encode(self.definition).decode(),
            "paused": self.paused,
            "floor": self.floor,
            "ranges": AckState.decode(self.floor, self.ranges).ranges,
            "createTimeUs": self.create_time_us,
            "epoch": self.epoch,
            "follows": revision,
        }
        return json.dumps(plain, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> State:
        """The inverse of encode()."""
        plain = json.loads(value)
        floor = int(plain["floor"])
        return cls(
            base64.b64decode(plain["definition"]),
            bool(plain["paused"]),
            floor,
            AckState(floor, (tuple(pair) for pair in plain["ranges"])).encode(),
            int(plain["createTimeUs"]),
            int(plain["epoch"]),
        )
