"""`python -m gateway`: the whole mesh in the foreground. Starts everything, prints where it is, stops all on Ctrl-C or SIGTERM."""

import asyncio
import signal
import sys
import time

import uvloop

from gateway.assembly import Assembly, assemble, system_log
from gateway.terminal import Terminal, say
from mesh import instance, logs
from mesh.child import BootError
from mesh.instance import FolderError
from mesh.settings import MeshSettings, SettingError
from mesh.supervisor import PortTakenError


async def run(settings: MeshSettings) -> None:
    """Runs the mesh until it is told to stop; BootError when it does not start, or whatever ended this process's own service."""
    began = time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    assembly = await assemble(settings)
    terminal = Terminal(settings)
    assembly.supervisor.listen(terminal)
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(_serve(assembly, terminal, settings, began))
            await stop.wait()
            serving.cancel()
    finally:
        say("stopping: the door first, then the services, then the bus")
        await assembly.stop(settings)
        say("stopped")


async def _serve(assembly: Assembly, terminal: Terminal, settings: MeshSettings, began: float) -> None:
    await assembly.supervisor.start()
    terminal.ready("System Service", settings.port_of("system"))
    terminal.welcome(time.monotonic() - began)
    await assembly.system.failed()


def main() -> int:
    """Exit code 0 after a stop, 1 when the mesh could not run; the reason is said."""
    try:
        settings = MeshSettings.load()
        with instance.held(settings.data_folder, settings.door_port, settings.listen_address):
            logs.setup("system", settings.log_level, system_log(settings))
            uvloop.run(run(settings))
    except* (SettingError, FolderError, PortTakenError, BootError) as group:
        for error in group.exceptions:
            sys.stderr.write(f"{error}\n")
        return_code = 1
    else:
        return_code = 0
    return return_code


if __name__ == "__main__":
    sys.exit(main())
