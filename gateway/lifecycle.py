"""What the process manager tells of the processes: service.started, service.stopped, service.unhealthy, through its outbox."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime

from google.protobuf.message import Message
from tooloo.system.v1 import system_events_pb2 as events

from gateway.last_seen import LastSeen
from mesh.child import Child, State
from mesh.errors import Refusal
from mesh.host import Host
from mesh.outbox import Fact
from mesh.reconnect import Backoff

log = logging.getLogger(__name__)
_FACTS: dict[State, Callable[[Child], Message]] = {
    State.SERVING: lambda child: events.ServiceStarted(
        service=child.program.service, process=child.name, pid=child.pid, restarts=child.restarts
    ),
    State.STOPPED: lambda child: events.ServiceStopped(service=child.program.service, process=child.name),
    State.CRASHED: lambda child: events.ServiceUnhealthy(service=child.program.service, process=child.name, detail=child.last_exit),
    State.NOT_SERVING: lambda child: events.ServiceUnhealthy(
        service=child.program.service, process=child.name, detail="its health check does not answer with SERVING"
    ),
}


class Lifecycle:
    """Tells each change of a process's state, in order."""

    def __init__(self, last_seen: LastSeen | None = None) -> None:
        self._last_seen = last_seen
        self._changes: deque[Fact] = deque()
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()

    def take_up(self, now: datetime) -> None:
        """Takes note of the processes whose end nobody told: they ended with an earlier process manager, after it last saw them."""
        processes, seen = self._last_seen.left_behind() if self._last_seen else ({}, now)
        for process, service in processes.items():
            subject = f"processes/{process}"
            ended = events.ServiceUnhealthy(
                service=service, process=process, detail="its process manager ended without stopping it"
            )
            self._changes.append(Fact(ended, subject, at=min(seen, now)))
            self._changes.append(Fact(events.ServiceStopped(service=service, process=process), subject))
            self._changed.set()

    def process_changed(self, child: Child) -> None:
        """Takes note of a change; run() tells it."""
        if child.state in _FACTS:
            self._changes.append(Fact(_FACTS[child.state](child), f"processes/{child.name}"))
            self._changed.set()
            if self._last_seen:
                self._last_seen.note(child.name, child.program.service, serves=child.state is State.SERVING)

    async def run(self, host: Host) -> None:
        """Tells for ever, through the outbox of the system service; what cannot be stored now, as on a full disk, is told later."""
        backoff = Backoff()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.flush(host)
                backoff.reset()
            except Refusal as refusal:
                log.warning("changes of the processes are told later: %s", refusal)
                self._changed.set()
                await asyncio.sleep(backoff.wait())

    async def flush(self, host: Host) -> None:
        """Tells what still waits; Refusal when it cannot be stored now."""
        async with self._telling:
            while self._changes:
                await _tell(host, self._changes[0])
                self._changes.popleft()


async def _tell(host: Host, fact: Fact) -> None:
    await host.db.write(lambda tx: host.tell(tx, fact))
