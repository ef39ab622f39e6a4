"""A stream of publishes over a real log: what is answered, in which order, and how it ends."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tooloo.bus.v1.bus_service_pb2 import PublishStreamRequest, PublishStreamResponse

from bus.log import Log
from bus.publish_stream import Pipeline
from bus.settings import BusSettings
from bus.storage import DiskFull, QueueFull
from mesh import errors
from mesh.clock import SystemClock
from mesh.errors import Refusal
from tests.support.events import sample, sized
from tests.support.waiting import turns, until


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
    answers, failure = await run(log, [request(n, n) for n in range(1, 9)])
    # what went to the disk meanwhile made room for as many more
    assert 3 <= log.head < 8
    assert positions(answers) == list(range(1, log.head + 1))
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


class Requests:
    """What a client sends, one request at a time; it counts what was taken, and waits for ever at its end unless closed."""

    def __init__(self, *requests: bytes) -> None:
        self.taken = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for each in requests:
            self.send(each)

    def send(self, request: bytes | None) -> None:
        """Another request; None closes."""
        self._queue.put_nowait(request)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next one."""
        request = await self._queue.get()
        if request is None:
            raise StopAsyncIteration
        self.taken += 1
        return request


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_what_waits_for_the_disk_is_bounded(tmp_path: Path, inline: timedelta) -> None:
    """Beyond its bytes the stream is not read on before some of them are stored and answered."""
    log = await opened(tmp_path, inline_commit=inline)
    requests = Requests(*(request(number, number) for number in range(1, 41)))
    pipeline = Pipeline(log, 3 * len(request(1, 1)))
    answers = pipeline.answers(requests)
    found = [await anext(answers)]
    await turns()
    # nobody takes a further answer
    assert requests.taken <= len(positions(found)) + 4
    requests.send(None)
    assert positions([*found, *[answer async for answer in answers]]) == list(range(1, 41))
    await log.close()


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_a_client_that_goes_away_leaves_nothing_behind(
    tmp_path: Path, inline: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    """Its requests are stored or not; the log goes on, and what it did not hear of is a repeat when it comes back."""
    log = await opened(tmp_path, inline_commit=inline)
    pipeline = Pipeline(log, 1 << 20)
    requests = Requests(*(request(number, number) for number in range(1, 6)))
    heard: list[PublishStreamResponse] = []

    async def listen() -> None:
        async for answer in pipeline.answers(requests):
            heard.append(answer)

    listening = asyncio.create_task(listen())
    await until(lambda: heard)
    listening.cancel()
    assert await asyncio.gather(listening, return_exceptions=True)
    pipeline.abandon()
    answers, failure = await run(log, [request(n, n) for n in range(1, 7)])
    assert (positions(answers), failure) == (list(range(1, 7)), None)
    await log.close()
    gc.collect()
    assert not caplog.records


DRAINING = errors.unavailable("bus", detail="it drains")


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
@pytest.mark.parametrize("before", [0, 3])
async def test_ending_an_idle_stream_wakes_it(tmp_path: Path, inline: timedelta, before: int) -> None:
    """It waits for a request that may never come; its task can go on afterwards, as if it had never been cancelled."""
    log = await opened(tmp_path, inline_commit=inline)
    pipeline = Pipeline(log, 1 << 20)
    heard: list[PublishStreamResponse] = []

    async def take(requests: Requests) -> None:
        async for answer in pipeline.answers(requests):
            heard.append(answer)

    async def listen() -> None:
        with pytest.raises(Refusal, match="drains"):
            await take(Requests(*(request(number, number) for number in range(1, before + 1))))
        task = asyncio.current_task()
        assert task
        assert not task.cancelling()
        async with asyncio.timeout(60):
            await asyncio.sleep(0)

    listening = asyncio.create_task(listen())
    await until(lambda: len(positions(heard)) == before)
    await turns()
    pipeline.end(DRAINING)
    async with asyncio.timeout(60):
        await listening
    await log.close()


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_ending_a_stream_that_sends_an_answer_leaves_its_task_alone(tmp_path: Path, inline: timedelta) -> None:
    """Whoever sends the answer is not cancelled in the middle of that; the refusal comes behind it."""
    log = await opened(tmp_path, inline_commit=inline)
    pipeline = Pipeline(log, 1 << 20)

    async def listen() -> list[PublishStreamResponse]:
        answers = pipeline.answers(Requests(request(1, 1)))
        found = [await anext(answers)]
        pipeline.end(DRAINING)
        # as grpc does while it sends
        await turns()
        with pytest.raises(Refusal, match="drains"):
            found.extend([answer async for answer in answers])
        return found

    async with asyncio.timeout(60):
        assert positions(await asyncio.create_task(listen())) == [1]
    await log.close()


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_ending_a_busy_stream_takes_nothing_more(tmp_path: Path, inline: timedelta) -> None:
    """However fast its client sends: what was taken is answered, then comes the refusal."""
    log = await opened(tmp_path, inline_commit=inline)
    pipeline = Pipeline(log, 1 << 20)

    async def endless() -> AsyncIterator[bytes]:
        number = 0
        while True:
            number += 1
            yield request(number, number)
            await asyncio.sleep(0)

    found: list[PublishStreamResponse] = []

    async def listen() -> None:
        async for answer in pipeline.answers(endless()):
            found.append(answer)
            if len(found) == 3:
                pipeline.end(DRAINING)

    with pytest.raises(Refusal, match="drains"):
        async with asyncio.timeout(60):
            await listen()
    assert positions(found) == list(range(1, log.head + 1))
    await log.close()


async def test_a_disk_that_changes_its_pace_at_any_time_costs_no_answer(tmp_path: Path) -> None:
    """Every request is taken once, in order, whichever task takes it."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, count = random.Random(seed), 200
    log = await opened(tmp_path)
    requests, pipeline = Requests(), Pipeline(log, 3 * len(request(1, 1)))
    found: list[PublishStreamResponse] = []

    async def listen() -> None:
        async for answer in pipeline.answers(requests):
            found.append(answer)
            if chance.random() < 0.5:
                await asyncio.sleep(0)

    listening = asyncio.create_task(listen())
    for number in range(1, count + 1):
        log._writer.pace.inline = chance.random() < 0.5
        requests.send(request(number, number))
        for _ in range(chance.choice((0, 0, 1, 5, 30))):
            await asyncio.sleep(0)
    requests.send(None)
    async with asyncio.timeout(60):
        await listening
    assert positions(found) == list(range(1, count + 1))
    assert found[-1].sequence == count
    await log.close()
