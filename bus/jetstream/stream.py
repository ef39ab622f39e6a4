"""The stream that is the log: made, checked, read by place and time, cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bus.jetstream.connection import ApiError, Connection, Incoming
from bus.jetstream.settings import NatsSettings
from mesh.settings import SettingError

_NOT_FOUND = 404
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Extent:
    """What a stream holds."""

    first: int
    last: int
    messages: int
    bytes: int


class Stream:
    """One stream, asked through its leader where staleness would lie."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    async def ensure(self, config: dict[str, Any]) -> None:
        """Makes the stream when it is not there; SettingError when it stands with a configuration that breaks a promise."""
        try:
            standing = (await self._connection.api(f"STREAM.INFO.{self.name}"))["config"]
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise
            standing = (await self._connection.api(f"STREAM.CREATE.{self.name}", {"name": self.name, **config}))["config"]
        for key, wanted in config.items():
            if standing.get(key) != wanted:
                raise SettingError(
                    f"the stream {self.name!r} has {key} = {standing.get(key)!r} where the bus needs {wanted!r}; "
                    f"change the stream or TOOLOO_BUS_NATS_*, or run NATS 2.12 or newer if it does not know {key}"
                )

    async def extent(self) -> Extent:
        """What it holds now."""
        state = (await self._connection.api(f"STREAM.INFO.{self.name}"))["state"]
        return Extent(state["first_seq"], state["last_seq"], state["messages"], state["bytes"])

    async def message(self, sequence: int) -> Incoming | None:
        """The message at a sequence; None when it is not kept."""
        return await self._connection.stored(self.name, seq=sequence)

    async def next_from(self, sequence: int, subject: str = ">") -> Incoming | None:
        """The first message at or after a sequence, of those under a NATS subject; None when there is none."""
        return await self._connection.stored(self.name, seq=sequence, next_by_subj=subject)

    async def last_of(self, subject: str) -> Incoming | None:
        """The newest message under a NATS subject, which may hold wildcards."""
        return await self._connection.stored(self.name, last_by_subj=subject)

    async def read(self, after: int, last: int, max_bytes: int, subject: str = ">") -> tuple[list[Incoming], int]:
        """Messages beyond a position and up to `last`, and up to where that is all there is.

        Any replica answers, and one may lag: where its answer ends before `last`, the leader says what comes next.
        """
        found, more = await self._connection.fetch(self.name, after + 1, max_bytes, subject)
        found = [message for message in found if message.sequence <= last]
        reached = found[-1].sequence if found else after
        if found and (more or reached >= last):
            return found, reached
        following = await self._connection.stored(self.name, seq=reached + 1, next_by_subj=subject)
        if following is None or following.sequence > last:
            return found, last
        if not found:
            return [following], following.sequence
        return found, following.sequence - 1

    async def position_before(self, time_us: int, extent: Extent) -> int:
        """The position after which everything was stored at or after a time: a binary search."""
        low, high = extent.first, extent.last
        while low <= high:
            middle = (low + high) // 2
            message = await self.next_from(middle)
            if message is None or message.sequence > high or message.time_us >= time_us:
                high = middle - 1
            else:
                low = message.sequence + 1
        return low - 1

    async def purge(self, up_to: int, subject: str = "") -> int:
        """Deletes messages up to a position, all or those under a NATS subject; returns how many."""
        which = {"seq": up_to + 1, **({"filter": subject} if subject else {})}
        return int((await self._connection.api(f"STREAM.PURGE.{self.name}", which))["purged"])

    async def erase(self, sequence: int) -> None:
        """Deletes one message and overwrites its bytes on the disk."""
        try:
            await self._connection.api(f"STREAM.MSG.DELETE.{self.name}", {"seq": sequence})
        except ApiError as error:
            # it was gone already
            if await self.message(sequence) is not None:
                raise error from None


def log_config(settings: NatsSettings) -> dict[str, Any]:
    """The configuration of the stream that is the log: nothing is ever dropped by NATS itself."""
    return {
        "subjects": [f"{settings.prefix}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "num_replicas": settings.replicas,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "allow_direct": True,
        "allow_atomic": True,
        "duplicate_window": int(settings.duplicate_window.total_seconds() * _NANOSECONDS),
    }
