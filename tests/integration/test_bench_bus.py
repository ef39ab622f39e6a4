"""The bench's own parts, on a real bus: its events are accepted, its adapter loses none, its programs print their tables."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.bus import server
from bench.bus.adapter import Adapter

PAYLOAD = bytes(range(256))


@pytest.mark.parametrize("mode", Adapter.MODES)
async def test_the_adapter_delivers_what_it_published(mode: str) -> None:
    """All of it after the reset, with its payload, acknowledged; and of one type what is of that type."""
    # a unix socket's path is short by law of the kernel, pytest's folders are not
    with tempfile.TemporaryDirectory(prefix="tooloo-") as folder, server.running(Path(folder)) as (_, address):
        adapter = Adapter({"address": address, "after": 0})
        await adapter.connect()
        await adapter.publish("warm", PAYLOAD)
        await adapter.reset()
        await adapter.publish_many(1_500, PAYLOAD)
        assert await _consumed(adapter, "all", None, mode, 1_500) == [PAYLOAD] * 1_500
        assert await _consumed(adapter, "some", "t7", mode, 15) == [PAYLOAD] * 15
        await adapter.close()


async def _consumed(adapter: Adapter, durable: str, wanted: str | None, mode: str, count: int) -> list[bytes]:
    found: list[bytes] = []

    def on_batch(payloads: Sequence[bytes]) -> bool:
        found.extend(payloads)
        return len(found) >= count

    await adapter.prepare_consumer(durable, wanted, mode)
    await adapter.consume(durable, on_batch, wanted, mode)
    return found


@pytest.mark.parametrize(
    ("program", "argument", "shows"),
    [
        ("followers", "20", "one event to all"),
        ("backlog", "2000", "2,000 events"),
        ("soak", "", "MB an hour"),
    ],
)
def test_the_programs_print_their_tables(program: str, argument: str, shows: str) -> None:
    """With few events, so that they do not rot; what they print is not judged here."""
    env = {**os.environ, "PYTHONPATH": str(server.ROOT / "build" / "api"), "TOOLOO_SOAK_SECONDS": "1"}
    command = [sys.executable, "-m", f"bench.bus.{program}", *argument.split()]
    done = subprocess.run(command, cwd=server.ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert not done.returncode, done.stderr
    assert shows in done.stdout


def test_the_machine_s_own_pauses_are_told() -> None:
    """A process that is stopped for a while stands still, and says for how long."""
    command = [sys.executable, "-m", "bench.pauses", str(min(os.sched_getaffinity(0))), "1"]
    with subprocess.Popen(command, cwd=server.ROOT, stdout=subprocess.PIPE) as process:
        # again and again, for nobody knows when it begins to watch
        while process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.3)
        pauses = json.loads(process.communicate()[0])
    assert max(pauses) >= 0.19
