"""Who owns the log: one bus at a time writes it. A lease in the bucket says who; owners have epochs, and the older one stops."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from bus.jetstream.bucket import Bucket, Entry
from bus.jetstream.connection import Unreachable, WrongSequence
from bus.storage import DiskFull

log = logging.getLogger(__name__)
KEY = "owner"
_RENEWALS = 3
_GOODBYE_SECONDS = 2.0


class OwnershipLost(Exception):
    """Another bus has taken the log over: this one must not go on."""


@dataclass(frozen=True)
class _Lease:
    owner: str
    epoch: int

    def encode(self, renewals: int) -> bytes:
        return json.dumps({"owner": self.owner, "epoch": self.epoch, "renewals": renewals}).encode()

    @classmethod
    def of(cls, entry: Entry) -> _Lease:
        found = json.loads(entry.value)
        return cls(str(found["owner"]), int(found["epoch"]))


class Ownership:
    """The lease of this bus: taken at the start, renewed while it runs, given back at the end."""

    def __init__(self, bucket: Bucket, owner: str, seconds: float, on_lost: Callable[[BaseException], None]) -> None:
        self._bucket = bucket
        self._owner = owner
        self._seconds = seconds
        self._on_lost = on_lost
        self._revision = 0
        self._renewals = 0
        self._renewing: asyncio.Task[None] | None = None
        self.epoch = 0

    async def take(self) -> None:
        """Becomes the owner: at once after one of the same name or one that has left, else when the other's lease has run out."""
        while True:
            standing = await self._bucket.get(KEY)
            if standing is not None and not await self._may_follow(standing):
                continue
            self.epoch = _Lease.of(standing).epoch + 1 if standing else 1
            lease = _Lease(self._owner, self.epoch)
            try:
                self._revision = await self._bucket.update(KEY, lease.encode(0), standing.revision if standing else 0)
            except WrongSequence:
                # another one was faster
                continue
            self._renewing = asyncio.create_task(self._renew(), name="jetstream lease")
            return

    async def check(self) -> None:
        """OwnershipLost when another bus has taken over."""
        standing = await self._bucket.get(KEY)
        if standing is None or _Lease.of(standing) != _Lease(self._owner, self.epoch):
            raise OwnershipLost(f"another bus owns the log now: {standing.value.decode() if standing else 'nobody is noted'}")

    async def release(self) -> None:
        """Gives the lease back, so that whoever comes next need not wait."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        with suppress(WrongSequence, Unreachable, DiskFull, TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._bucket.update(KEY, _Lease("", self.epoch).encode(0), self._revision)

    async def _may_follow(self, standing: Entry) -> bool:
        if _Lease.of(standing).owner in ("", self._owner):
            return True
        log.info("the log is owned by another bus: %s", standing.value.decode())
        await asyncio.sleep(self._seconds)
        # the lease is judged by whether it moved, not by clocks of different machines
        now = await self._bucket.get(KEY)
        return now is not None and now.revision == standing.revision

    async def _renew(self) -> None:
        # while NATS is away the update waits; writes are fenced by sequence anyway
        while True:
            await asyncio.sleep(self._seconds / _RENEWALS)
            self._renewals += 1
            try:
                self._revision = await self._bucket.update(
                    KEY, _Lease(self._owner, self.epoch).encode(self._renewals), self._revision
                )
            except Unreachable:
                return
            except DiskFull:
                # nobody else can take the lease now either
                log.warning("NATS has no room to renew the lease; it is tried again")
            except WrongSequence as error:
                self._on_lost(OwnershipLost(str(error)))
                return
