"""A stream of publishes over a real log: what is answered, in which order, and how it ends."""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tooloo.bus.v1.bus_service_pb2 import PublishStreamRequest, PublishStreamResponse

from bus.log import Log
from bus.publish_stream import Pipeline
from bus.settings import BusSettings
from bus.writer import DiskFull, QueueFull
from mesh.clock import SystemClock
from mesh.errors import Refusal
from tests.support.events import sample, sized


async def opened(path: Path, **values: Any) -> Log:
    """A log of its own."""
    return await Log.open(path / "log.db", BusSettings(**values), SystemClock())


def request(sequence: int, *numbers: int) -> bytes:
    """A request that holds events of these numbers."""
    return PublishStreamRequest(events=[sample(number) for number in numbers], sequence=sequence).SerializeToString()


async def stream_of(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    """What a client sends before it closes its half."""
    for each in requests:
        yield each


async def run(
    log: Log, requests: Iterable[bytes], max_bytes: int = 1 << 20
) -> tuple[list[PublishStreamResponse], Exception | None]:
    """All answers of a stream, and the refusal that it ended with."""
    pipeline = Pipeline(log, max_bytes)
    answers: list[PublishStreamResponse] = []
    failure = None
    try:
        async for answer in pipeline.answers(stream_of(requests)):
            answers.append(answer)
    except Exception as error:  # noqa: BLE001 - looked at by the test
        failure = error
    finally:
        pipeline.abandon()
    return answers, failure


async def noting(taken: list[int], count: int) -> AsyncIterator[bytes]:
    """Requests that note when the stream takes them."""
    for number in range(1, count + 1):
        taken.append(number)
        yield request(number, number)


@asynccontextmanager
async def held(log: Log) -> AsyncIterator[None]:
    """A log whose writer is busy with something else while the block lasts."""
    begun, go_on = threading.Event(), threading.Event()

    def busy(_: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait()

    work = asyncio.create_task(log.run(busy))
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        go_on.set()
        await work


async def turns() -> None:
    """Lets everything that can go on do so: nothing here waits for anything but the writer."""
    for _ in range(20):
        await asyncio.sleep(0)


def positions(answers: Iterable[PublishStreamResponse]) -> list[int]:
    """The positions that were told, in order."""
    return [position for answer in answers for position in answer.positions]


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_a_half_closed_stream_gets_all_its_answers(tmp_path: Path, inline: timedelta) -> None:
    """Answers are cumulative, in order, and the last one covers the last request; repeats are counted over the stream."""
    log = await opened(tmp_path, inline_commit=inline)
    answers, failure = await run(log, [*(request(n, 2 * n, 2 * n + 1) for n in range(1, 51)), request(51, 2, 200)])
    assert failure is None
    assert positions(answers) == [*range(1, 101), 1, 101]
    assert [answer.sequence for answer in answers] == sorted({answer.sequence for answer in answers})
    last = answers[-1]
    assert (last.sequence, last.last_position, last.duplicates) == (51, 101, 1)
    assert await run(log, []) == ([], None)
    await log.close()


@pytest.mark.parametrize(
    "bad", [b"\x0a\x05", request(7, 7), PublishStreamRequest(events=[sample(7, "")], sequence=3).SerializeToString()]
)
async def test_a_bad_request_in_the_middle_ends_the_stream_after_the_answers_before_it(tmp_path: Path, bad: bytes) -> None:
    """Undecodable, out of turn, or invalid: those before are stored and answered, then the refusal, nothing of those behind."""
    log = await opened(tmp_path)
    answers, failure = await run(log, [request(1, 1), request(2, 2), bad, request(3, 3)])
    assert positions(answers) == [1, 2]
    assert isinstance(failure, Refusal)
    assert log.head == 2
    await log.close()


async def test_a_full_queue_in_the_middle(tmp_path: Path) -> None:
    """What found room is stored and answered; the refusal names the queue."""
    log = await opened(tmp_path, write_queue=3, inline_commit=timedelta(0))
    async with held(log):
        running = asyncio.create_task(run(log, [request(n, n) for n in range(1, 9)]))
        await turns()
    answers, failure = await running
    assert positions(answers) == [1, 2, 3]
    assert isinstance(failure, QueueFull)
    await log.close()


async def test_a_full_disk_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Stored and answered up to the first that found no room; nothing behind it is stored, and nobody is told of a lost failure."""
    log = await opened(tmp_path, commit_batch=1, ballast_bytes=0)
    pages = await log.run(lambda connection: int(connection.execute("PRAGMA page_count").fetchone()[0]))
    await log.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 6}").fetchall())
    large = PublishStreamRequest(events=[sized(2, 200_000)], sequence=2).SerializeToString()
    answers, failure = await run(log, [request(1, 1), large, request(3, 3), request(4, 4)])
    assert positions(answers) == [1]
    assert isinstance(failure, DiskFull)
    assert log.head == 1
    await log.close()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_what_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    """Beyond its bytes the stream is not read on before some of them are stored."""
    log = await opened(tmp_path, inline_commit=timedelta(0))
    taken: list[int] = []
    answers = Pipeline(log, 3 * len(request(1, 1))).answers(noting(taken, 40))
    async with held(log):
        first = asyncio.ensure_future(anext(answers))
        await turns()
        assert taken == [1, 2, 3, 4]
    assert positions([await first, *[answer async for answer in answers]]) == list(range(1, 41))
    await log.close()


async def test_while_commits_take_no_time_each_request_is_answered_before_the_next_is_read(tmp_path: Path) -> None:
    """Nothing waits then, so nothing has to be bounded."""
    log = await opened(tmp_path, inline_commit=timedelta(seconds=1))
    taken: list[int] = []
    told = [(answer.sequence, len(taken)) async for answer in Pipeline(log, 1).answers(noting(taken, 5))]
    assert told == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    await log.close()


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_a_client_that_goes_away_leaves_nothing_behind(tmp_path: Path, inline: timedelta) -> None:
    """Its requests are stored or not; the log goes on, and what it did not hear of is a repeat when it comes back."""
    log = await opened(tmp_path, inline_commit=inline)

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1, 6):
            yield request(number, number)
        await asyncio.Event().wait()

    pipeline = Pipeline(log, 1 << 20)
    heard = asyncio.Event()

    async def listen() -> None:
        async for _ in pipeline.answers(endless()):
            heard.set()

    listening = asyncio.create_task(listen())
    await heard.wait()
    listening.cancel()
    assert isinstance((await asyncio.gather(listening, return_exceptions=True))[0], asyncio.CancelledError)
    pipeline.abandon()
    answers, failure = await run(log, [request(n, n) for n in range(1, 7)])
    assert (positions(answers), failure) == (list(range(1, 7)), None)
    await log.close()
