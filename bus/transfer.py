"""Carries events between a bus and JSON lines, one CloudEvent a line: `python -m bus.transfer export FILE` and `... import FILE`.

An export ends at the head that stood when it began; broken off, it goes on with --resume (or --after). An import keeps the order of
the file and may be repeated: what stands already is not stored again (within the bus's window of uniqueness).
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import grpc
from google.rpc import error_details_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter
from tooloo.event.v1.event_pb2 import Event

from mesh.cloudevents import NotACloudEventError, from_cloudevent, to_cloudevent
from mesh.errors import Refusal
from mesh.follow import BusClient
from mesh.reconnect import Backoff, is_final, refusal_of
from mesh.settings import MeshSettings

# what one publish may hold, by the contract and by the bus's default message size
_BATCH_EVENTS = 500
_BATCH_BYTES = 1024 * 1024
_PAGE_EVENTS = 1000
_LONGEST_LINE = 4 * 1024 * 1024
_TAIL_BYTES = 2 * _LONGEST_LINE
# how long a bus that is away is waited for
_PATIENCE_SECONDS = 60.0
_ATTEMPT_SECONDS = 30.0
_EVENT = re.compile(r"^events\[(\d+)\]\.?")


class TransferError(Exception):
    """Why a transfer ended early; the message says what to do."""


@dataclass
class Imported:
    """What an import did."""

    new: int = 0
    stood: int = 0


@dataclass
class _Batch:
    """Lines that are published together, with their numbers in the file."""

    events: list[Event] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    size: int = 0


async def export_events(client: BusClient, target: BinaryIO, types: Sequence[str] = (), after: int = 0) -> tuple[int, int]:
    """Writes the events beyond a position up to the present head; gives how many, and the position to go on from."""
    count = 0
    async with contextlib.aclosing(_pages(client, types, after)) as pages:
        async for page in pages:
            for event in page.events:
                target.write(_line(event))
            target.flush()
            count += len(page.events)
            after = page.progress_position
    return count, after


async def import_events(client: BusClient, source: BinaryIO) -> Imported:
    """Publishes every line in order; TransferError that names the line at fault, and then all batches before it are stored."""
    head = (await client.stub.GetBusStats(pb.GetBusStatsRequest(), timeout=_PATIENCE_SECONDS, wait_for_ready=True)).head_position
    done = Imported()
    newest = head
    for batch in _batches(source):
        try:
            positions = await client.publish(batch.events, timeout=_PATIENCE_SECONDS)
        except Refusal as refusal:
            raise _at_fault(refusal, batch) from refusal
        # a request that was sent twice is told from a repeated event by where it stands, not by what the second answer counted
        fresh = {position for position in positions if position > newest}
        newest = max(newest, *positions)
        done.new += len(fresh)
        done.stood += len(positions) - len(fresh)
    return done


def last_position(path: Path) -> int:
    """Where a broken off export stopped; cuts off a line that was not finished. 0 for a file that is empty or not there."""
    if not path.exists() or not path.stat().st_size:
        return 0
    with path.open("rb+") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]
        try:
            position = from_cloudevent(json.loads(whole.rpartition(b"\n")[2])).position
        except ValueError as error:
            raise TransferError(f"{path} does not end with an exported event ({error}); name another file") from error
        file.truncate(start + len(whole) + 1)
    return position


async def _pages(client: BusClient, types: Sequence[str], after: int) -> AsyncGenerator[pb.ReadEventsResponse]:
    """Pages up to the head that the first one tells: a busy bus would never be done."""
    head = None
    while head is None or after < head:
        request = pb.ReadEventsRequest(after_position=after, filter=EventFilter(types=types), page_size=_PAGE_EVENTS)
        page = await _read(client, request)
        head = page.head_position if head is None else head
        while page.events and page.events[-1].position > head:
            page.events.pop()
        page.progress_position = min(page.progress_position, head)
        after = page.progress_position
        yield page


async def _read(client: BusClient, request: pb.ReadEventsRequest) -> pb.ReadEventsResponse:
    """One page, waiting for a bus that is away."""
    backoff = Backoff()
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            return await client.stub.ReadEvents(request, timeout=_ATTEMPT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if is_final(error) or loop.time() > until:
                refusal = refusal_of(error)
                raise TransferError(f"after position {request.after_position}: {refusal.message}") from error
        await asyncio.sleep(backoff.wait())


def _line(event: Event) -> bytes:
    try:
        written = to_cloudevent(event, whole=True)
    except NotACloudEventError as error:
        raise TransferError(f"the event at position {event.position} is no CloudEvent: {error}; pass it with --after") from error
    return json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _batches(source: BinaryIO) -> Iterator[_Batch]:
    batch = _Batch()
    for number, line in _lines(source):
        try:
            event = _event(line)
        except TransferError as error:
            # what is good goes first, so that it can be said which lines are stored
            if batch.events:
                yield batch
            raise TransferError(_advice(number, str(error), number)) from error
        size = event.ByteSize()
        if batch.events and (len(batch.events) >= _BATCH_EVENTS or batch.size + size > _BATCH_BYTES):
            yield batch
            batch = _Batch()
        batch.events.append(event)
        batch.lines.append(number)
        batch.size += size
    if batch.events:
        yield batch


def _lines(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, each with its number from 1."""
    number = 0
    while line := source.readline(_LONGEST_LINE + 1):
        number += 1
        if line.strip():
            yield number, line


def _event(line: bytes) -> Event:
    if len(line) > _LONGEST_LINE:
        raise TransferError(f"it is longer than {_LONGEST_LINE} bytes, which no event is")
    try:
        event = from_cloudevent(json.loads(line))
    except NotACloudEventError as error:
        raise TransferError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise TransferError(f"this is not JSON: {error}") from error
    event.position = 0
    return event


def _at_fault(refusal: Refusal, batch: _Batch) -> TransferError:
    """The refusal of a batch, told of the line it means."""
    for detail in refusal.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            for violation in detail.field_violations:
                if match := _EVENT.match(violation.field):
                    name = violation.field[match.end() :]
                    text = f"{name}: {violation.description}" if name else violation.description
                    return TransferError(_advice(batch.lines[int(match[1])], text, batch.lines[0]))
    return TransferError(f"lines {batch.lines[0]} to {batch.lines[-1]} are not stored: {refusal.message}; import the file again")


def _advice(number: int, text: str, first: int) -> str:
    """What is wrong with a line, and what to do; `first` is the first line that is not stored."""
    stored = f"the lines before {first} are stored" if first > 1 else "nothing is stored"
    return f"line {number}: {text}\n{stored}; correct the line and import the file again: what stands is not stored twice"


async def _export(client: BusClient, chosen: argparse.Namespace) -> str:
    if chosen.file == "-":
        count, position = await export_events(client, sys.stdout.buffer, chosen.types, chosen.after)
        return f"{count} events; go on with --after {position}"
    path = Path(chosen.file)
    # files may block here: nothing else runs in this loop
    if path.exists() and not chosen.resume:  # noqa: ASYNC240
        raise TransferError(f"{path} is there already; go on with --resume, or name another file")
    after = max(chosen.after, last_position(path)) if chosen.resume else chosen.after
    with path.open("ab") as file:  # noqa: ASYNC230
        try:
            count, position = await export_events(client, file, chosen.types, after)
        except BaseException:
            # one that could not even begin leaves no file, which would be in the way of the next one
            if not file.tell():
                path.unlink()  # noqa: ASYNC240
            raise
        os.fsync(file.fileno())
    return f"{count} events up to position {position} are in {path}"


async def _import(client: BusClient, chosen: argparse.Namespace) -> str:
    if chosen.file == "-":
        done = await import_events(client, sys.stdin.buffer)
    else:
        with Path(chosen.file).open("rb") as file:  # noqa: ASYNC230
            done = await import_events(client, file)
    return f"{done.new} events are new, {done.stood} stood already"


async def _run(chosen: argparse.Namespace) -> str:
    client = BusClient(chosen.target)
    await client.start()
    try:
        return await (_export if chosen.command == "export" else _import)(client, chosen)
    except grpc.aio.AioRpcError as error:
        raise TransferError(f"the bus at {chosen.target}: {refusal_of(error).message}") from error
    finally:
        await client.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bus.transfer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    out = commands.add_parser("export", help="write the events of a bus")
    out.add_argument("--types", type=_names, default=(), metavar="TYPE,...", help='only these, e.g. "training.*,budget.*"')
    out.add_argument("--after", type=int, default=0, metavar="N", help="only events beyond this position")
    out.add_argument("--resume", action="store_true", help="go on where FILE ends")
    into = commands.add_parser("import", help="publish the events of a file")
    bus_port = MeshSettings.load().port_of("bus")
    for command in (out, into):
        command.add_argument("--target", default=f"127.0.0.1:{bus_port}", metavar="ADDRESS", help="the bus")
        command.add_argument("file", metavar="FILE", help="JSON lines; - is the terminal")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code is 1 when the transfer ended early. What was done is said on stderr."""
    chosen = _parser().parse_args(arguments)
    try:
        said = asyncio.run(_run(chosen))
    except (TransferError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
