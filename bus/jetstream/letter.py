"""A dead letter as the bucket keeps it: JSON, so that `nats kv get` shows it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from tooloo.event.v1.event_pb2 import Event

from bus.deliveries import Dead
from bus.storage import StoredDeadLetter


@dataclass(frozen=True)
class Letter:
    """An event that a subscription could not handle, with why."""

    position: int
    subject: str
    reason: str
    attempts: int
    error: str
    create_time_us: int
    event: bytes

    @classmethod
    def of(cls, dead: Dead, event: Event, now_us: int) -> Letter:
        """The letter of an event."""
        subject = event.subject or dead.subject
        return cls(dead.position, subject, dead.reason, dead.attempts, dead.error, now_us, event.SerializeToString())

    def stored(self) -> StoredDeadLetter:
        """As the rest of the bus knows it."""
        return StoredDeadLetter(self.position, self.event, self.reason, self.attempts, self.error, self.create_time_us)

    def encode(self) -> bytes:
        """The value of its key."""
        found = {
            "position": self.position,
            "subject": self.subject,
            "reason": self.reason,
            "attempts": self.attempts,
            "error": self.error,
            "createTimeUs": self.create_time_us,
            "event": base64.b64encode(self.event).decode(),
        }
        return json.dumps(found).encode()

    @classmethod
    def decode(cls, value: bytes) -> Letter:
        """The inverse of encode()."""
        found = json.loads(value)
        return cls(
            found["position"],
            found["subject"],
            found["reason"],
            found["attempts"],
            found["error"],
            found["createTimeUs"],
            base64.b64decode(found["event"]),
        )
