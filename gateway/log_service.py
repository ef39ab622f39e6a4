"""The calls that show the logs: gRPC in, the log files, gRPC out."""

# grpcio's classes are generic in its type stubs only, so annotations must not be evaluated
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.system.v1 import log_pb2
from tooloo.system.v1 import system_service_pb2 as system

from gateway import logfiles, loglines
from gateway.logfiles import Budget
from gateway.loglines import Filter, Record
from gateway.logtail import Follower, LogTail
from gateway.settings import SystemSettings
from mesh import errors, page
from mesh.clock import Clock

Context = grpc.aio.ServicerContext[Any, Any]
Asked = system.ReadLogsRequest | system.FollowLogsRequest
_LEVELS = {name: log_pb2.LogLevel.Value(f"LOG_LEVEL_{name}") for name in loglines.LEVELS}
_NAMES = {value: name for name, value in _LEVELS.items()}
# what may follow a rotation that came between the look at the folder and the reading
_LOOKS = 3
# lines in one message of FollowLogs, which must stay below the largest message
_BATCH = 20
# bytes of lines in one page; as a message they may be twice as many
_ROOM = 1024 * 1024


class LogCalls:
    """ReadLogs, FollowLogs."""

    _logs: Path
    _tail: LogTail
    _settings: SystemSettings
    _clock: Clock

    async def ReadLogs(self, request: system.ReadLogsRequest, context: Context) -> system.ReadLogsResponse:
        """A page of lines, newest first."""
        query = page.fingerprint(request)
        ends = _places(page.decode_token(request.page_token, query)) if request.page_token else None
        records, places = await asyncio.to_thread(self._read, _wanted(request), page.size_of(request.page_size), ends)
        token = page.encode_token({"places": places}, query) if places else ""
        return system.ReadLogsResponse(records=map(_message, records), next_page_token=token)

    async def FollowLogs(self, request: system.FollowLogsRequest, context: Context) -> AsyncIterator[system.FollowLogsResponse]:
        """The lines as they are written."""
        wanted = _wanted(request)
        with self._tail.following() as follower:
            old = await self._old(wanted, follower, request.tail) if request.tail else []
            # the first message comes at once, so that the caller knows that it follows
            for begin in range(0, max(1, len(old)), _BATCH):
                yield self._response(old[begin : begin + _BATCH])
            async for records in self._fresh(wanted, follower):
                yield self._response(records)

    async def _old(self, wanted: Filter, follower: Follower, tail: int) -> list[Record]:
        records, _ = await asyncio.to_thread(self._read, wanted, tail, follower.places)
        return records[::-1]

    async def _fresh(self, wanted: Filter, follower: Follower) -> AsyncIterator[list[Record]]:
        """The wanted lines as they come, none after each silence."""
        loop = asyncio.get_running_loop()
        silence = self._settings.log_heartbeat.total_seconds()
        due = loop.time() + silence
        while True:
            lines = await follower.take(max(0.0, due - loop.time()))
            records = self._left_out(follower)
            records += [record for record, line in lines if wanted.line(record.process, line) and wanted.record(record)]
            if records or loop.time() >= due:
                due = loop.time() + silence
                yield records[:_BATCH]
            for begin in range(_BATCH, len(records), _BATCH):
                yield records[begin : begin + _BATCH]

    def _left_out(self, follower: Follower) -> list[Record]:
        if not follower.left_out:
            return []
        text = f"{follower.left_out} lines were left out here: they came faster than they were read; ReadLogs has them"
        follower.left_out = 0
        return [Record(self._clock.now(), "system", "system", loglines.WARNING, __name__, text)]

    def _read(self, wanted: Filter, size: int, ends: Mapping[str, int] | None) -> tuple[list[Record], dict[str, int]]:
        budget = Budget(self._settings.log_read_bytes, self._settings.log_line_bytes, _ROOM)
        for _ in range(_LOOKS):
            files = logfiles.find(self._logs)
            places = {file.mark: file.size for file in files if file.mark} if ends is None else ends
            try:
                return logfiles.read_back(files, places, wanted, size, budget)
            except (logfiles.MovedError, FileNotFoundError):
                continue
        raise errors.unavailable("logs", detail="log files are being rotated; ask again")

    def _response(self, records: Iterable[Record]) -> system.FollowLogsResponse:
        response = system.FollowLogsResponse(records=map(_message, records))
        response.time.FromDatetime(self._clock.now())
        return response


def _wanted(request: Asked) -> Filter:
    level = _NAMES.get(request.min_level, loglines.DEBUG)
    return Filter(request.service, request.process, level, request.contains)


def _places(cursor: Mapping[str, object]) -> dict[str, int]:
    places = cursor.get("places")
    if not isinstance(places, dict) or not all(isinstance(place, int) and place > 0 for place in places.values()):
        raise errors.invalid("page_token", "this query did not give that token", reason=ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN)
    return places


def _message(record: Record) -> log_pb2.LogRecord:
    message = log_pb2.LogRecord(
        service=record.service,
        process=record.process,
        level=_LEVELS[record.level],
        logger=record.logger,
        message=record.message,
    )
    message.time.FromDatetime(record.time)
    message.fields.update(record.fields)
    return message
