"""The one sampler of Envoy's statistics, shared by all who watch the traffic; it sleeps when nobody does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx

from envoy import admin, statistics
from envoy.statistics import Counted
from gateway.settings import SystemSettings
from gateway.traffic import Ring, Sample, Window, tally
from mesh import errors
from mesh.clock import Clock

log = logging.getLogger(__name__)
Ask = Callable[[], Awaitable[dict[str, Counted]]]
_TIMEOUT, _GATHERED_S = 5.0, 0.02
# what a question waits for samples: the first two after a sleep, with room for one that failed; a busy machine takes its time
_PATIENCE = 20.0


def asking(admin_port: int) -> Ask:
    """Asks the admin page of the Envoy on this machine what it has counted."""
    client = admin.client(admin_port, _TIMEOUT)

    async def ask() -> dict[str, Counted]:
        (await client.get(statistics.GATHER)).raise_for_status()
        # the threads hand theirs over meanwhile; what comes later is in the next sample
        await asyncio.sleep(_GATHERED_S)
        return statistics.read((await client.get(statistics.STATISTICS)).raise_for_status().content)

    return ask


class Sampler:
    """Takes a sample every interval as long as somebody watches or asked a short while ago."""

    def __init__(self, ask: Ask, clock: Clock, settings: SystemSettings) -> None:
        self._ask = ask
        self._clock = clock
        self._interval = settings.traffic_interval.total_seconds()
        self._linger = settings.traffic_linger.total_seconds()
        self._ring = Ring(settings.traffic_length.total_seconds())
        self._watchers = 0
        self._awake_until = 0.0
        self._wake = asyncio.Event()
        self._sampled = asyncio.Condition()

    async def run(self) -> None:
        """Samples while that is wanted, for ever."""
        while True:
            await self._wake.wait()
            # a window over the time of sleep would be none that anybody asked for
            self._ring.clear()
            while self._watchers or self._clock.monotonic() < self._awake_until:
                await self._take()
                await asyncio.sleep(self._interval)
            self._ring.clear()
            self._wake.clear()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keeps the samples coming as long as the block lasts."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def window(self, seconds: float) -> Window:
        """The traffic of the last seconds; waits for the first two samples after a sleep. UNAVAILABLE when Envoy does not tell."""
        with self.watched():
            self._awake_until = self._clock.monotonic() + self._linger
            self._wake.set()
            return await self._newest(seconds)

    async def _newest(self, seconds: float) -> Window:
        try:
            async with asyncio.timeout(_PATIENCE), self._sampled:
                while (found := self._ring.window(seconds)) is None:
                    await self._sampled.wait()
                return found
        except TimeoutError:
            raise errors.unavailable("envoy", detail="Envoy's admin page does not give its statistics") from None

    async def _take(self) -> None:
        try:
            counted = await self._ask()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            log.warning("no sample of the traffic: %r", error)
            return
        services = {name: tally(each) for name, each in counted.items()}
        self._ring.add(Sample(self._clock.monotonic(), self._clock.now(), services))
        async with self._sampled:
            self._sampled.notify_all()
