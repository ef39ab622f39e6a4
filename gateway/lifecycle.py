"""What the process manager tells of the processes: service.started, service.stopped, service.unhealthy, through its outbox."""

import asyncio
from collections.abc import Callable

from google.protobuf.message import Message
from tooloo.system.v1 import system_events_pb2 as events

from mesh.child import Child, State
from mesh.host import Host
from mesh.outbox import Fact

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
        self._changes: asyncio.Queue[Fact] = asyncio.Queue()

    def process_changed(self, child: Child) -> None:
        """Takes note of a change; run() tells it."""
        if child.state in _FACTS:
            self._changes.put_nowait(Fact(_FACTS[child.state](child), f"processes/{child.name}"))

    async def run(self, host: Host) -> None:
        """Tells for ever, through the outbox of the system service."""
        while True:
            await _tell(host, await self._changes.get())

    async def flush(self, host: Host) -> None:
        """Tells what still waits."""
        while not self._changes.empty():
            await _tell(host, self._changes.get_nowait())


async def _tell(host: Host, fact: Fact) -> None:
    await host.db.write(lambda tx: host.tell(tx, fact))
