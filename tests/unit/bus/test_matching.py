"""A reader's events are picked without holding up the others."""

import asyncio
from pathlib import Path

from tooloo.bus.v1 import bus_service_pb2 as pb

from bus.filters import Filter
from bus.log import Log
from bus.matching import Matcher
from tests.integration.bus_bench import event


async def test_a_dear_filter_lets_others_go_in_between(tmp_path: Path) -> None:
    """A thousand events take at least ten turns of the loop; what is wanted and what failed come in order."""
    log = await Log.open(tmp_path / "log.db")
    try:
        kinds = ("started", "stopped")
        sent = [event(number, kind=kinds[number % 10 == 0]) for number in range(1, 1001)]
        await log.submit(log.intake.message(pb.PublishRequest(events=sent)))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        waiting = asyncio.create_task(others())
        chunk, failures = await Matcher(log, Filter(cel="data.pid > 990")).judged(0, 1 << 20)
        waiting.cancel()
    finally:
        await log.close()
    assert chunk.scanned == 1000
    assert turns >= 10
    assert list(failures) == list(range(10, 1001, 10))
    found = [position for piece in chunk.slices for position in piece.positions]
    assert [position for position in found if position not in failures] == list(range(991, 1000))
    assert log.filter_failures == 100
