"""Calls that another system must see once: they go on without their callers, and a repeat waits, at whichever replica it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from mesh.answers import request_id_of
from mesh.db_errors import StoreRefusal
from mesh.host import Host
from mesh.unbroken import Unbroken
from services.integration.lease import Lease
from services.integration.store import calls

R = TypeVar("R", bound=Message)
_LOOK_AGAIN_S = 0.2
# times that a lease is renewed before it would end
_RENEWALS = 4


class Alone:
    """Lets one call of a request_id do its work at a time; `lease` is how long one that fell silent keeps others from it.

    `owner` names this process among those on one store.
    """

    def __init__(self, host: Host, unbroken: Unbroken, owner: str, lease: timedelta) -> None:
        self._host = host
        self._unbroken = unbroken
        self._owner = owner
        self._lease = lease

    async def run(self, request: Message, answer: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """What the work gives, or gave to the first call with this request_id; it is done to its end whoever hangs up."""
        request_id = request_id_of(request)
        name = f"{request.DESCRIPTOR.full_name}/{request_id}" if request_id else ""
        return await self._unbroken.run(self._run(name, request, answer, work), alone=name)

    async def _run(self, name: str, request: Message, answer: type[R], work: Callable[[], Awaitable[R]]) -> R:
        if not name:
            return await work()
        while True:
            known = await self._host.answered(request, answer)
            if known is not None:
                return known
            if await self._claim(name):
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        async with self._held(name):
            return await work()

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[None]:
        """Renews the lease as long as the block takes, so that it can be short: it is what a repeat waits after a kill."""
        renewing = asyncio.create_task(self._renew(name))
        try:
            yield
        finally:
            renewing.cancel()
            await self._host.db.write(lambda tx: calls.end_call(tx, name, self._owner))

    async def _renew(self, name: str) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / _RENEWALS)
            # a store that can take nothing now lets nobody else take the call either
            with suppress(StoreRefusal):
                await self._host.db.write(partial(calls.renew_call, name=name, lease=self._from_now()))

    async def _claim(self, name: str) -> bool:
        return await self._host.db.write(partial(calls.claim_call, name=name, lease=self._from_now()))

    def _from_now(self) -> Lease:
        now = self._host.clock.now()
        return Lease(self._owner, now, now + self._lease)
