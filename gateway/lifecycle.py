"""What the process manager tells of the processes: service.started, service.stopped, service.unhealthy, through its outbox."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from google.protobuf.message import Message
from tooloo.system.v1 import system_events_pb2 as events

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

    def __init__(self) -> None:
        self._changes: deque[Fact] = deque()
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()

    def process_changed(self, child: Child) -> None:
        """Takes note of a change; run() tells it."""
        if child.state in _FACTS:
            self._changes.append(Fact(_FACTS[child.state](child), f"processes/{child.name}"))
            self._changed.set()

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
