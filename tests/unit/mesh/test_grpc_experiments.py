"""What the kit asks of gRPC by name: the installed release must know the names, or it would say so in every process."""

import os
import subprocess
import sys

SCRIPT = """
import mesh
import asyncio, grpc, grpc.aio

async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
    await server.stop(None)

asyncio.run(main())
import os
print(os.environ["GRPC_EXPERIMENTS"])
"""


def run(**env: str) -> subprocess.CompletedProcess[str]:
    """A process that imports the kit first and uses gRPC in both directions."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**clean, **env}, capture_output=True, text=True, check=True, timeout=60
    )


def test_grpc_knows_the_experiments_that_are_turned_off() -> None:
    """Not a word in the log, though gRPC says it where it meets an experiment that it does not know."""
    done = run()
    assert done.stdout.split() == ["-event_engine_client,-event_engine_listener"]
    assert done.stderr == ""
    assert "Unknown experiment" in run(GRPC_EXPERIMENTS="-no_such_experiment").stderr


def test_who_has_set_the_variable_keeps_it() -> None:
    """The kit only fills in what is not there."""
    assert run(GRPC_EXPERIMENTS="-event_engine_client").stdout.split() == ["-event_engine_client"]
