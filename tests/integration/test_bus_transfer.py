"""Export and import as JSON lines over real buses: nothing changes on the way, nothing is stored twice, and a bad line is named."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tooloo.event.v1.event_pb2 import Event

from bus.transfer import Imported, TransferError, export_events, import_events, last_position, main
from mesh import contracts
from mesh.cloudevents import to_cloudevent
from mesh.follow import BusClient
from mesh.ids import new_id
from tests.contracts.samples import event_of
from tests.integration.bus_asking import read_all
from tests.integration.bus_bench import BusBench, event, number_of, running_bus

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def client_of(bus: BusBench) -> AsyncIterator[BusClient]:
    """The easy client of a bus."""
    client = BusClient(bus.address)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def one_of_each() -> list[Event]:
    """An event of every type with every field set."""
    found = []
    for entry in contracts.catalogue().values():
        found.append(event_of(entry))
        found[-1].id = new_id()
    return found


def unplaced(events: list[Event]) -> list[Event]:
    """The events without their positions, which are a log's own."""
    for one in events:
        one.position = 0
    return events


def lines(*events: Event) -> bytes:
    """What an export of these would be."""
    return b"".join(json.dumps(to_cloudevent(one)).encode() + b"\n" for one in events)


async def transfer(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command line as a process of its own, while the bus goes on in this one."""
    command = [sys.executable, "-m", "bus.transfer", *arguments]
    return await asyncio.to_thread(
        lambda: subprocess.run(command, cwd=ROOT, input=given, capture_output=True, encoding="utf-8", timeout=60, check=False)
    )


async def exported(bus: BusBench, types: tuple[str, ...] = (), after: int = 0) -> bytes:
    """An export in memory."""
    target = io.BytesIO()
    async with client_of(bus) as client:
        await export_events(client, target, types, after)
    return target.getvalue()


async def imported(bus: BusBench, text: bytes) -> Imported:
    """An import from memory."""
    async with client_of(bus) as client:
        return await import_events(client, io.BytesIO(text))


async def test_every_field_of_every_type_survives_the_round_trip(tmp_path: Path) -> None:
    """From one log into another: equal events in equal order."""
    async with running_bus(tmp_path / "one") as one, running_bus(tmp_path / "other") as other:
        sent = one_of_each()
        await one.publish(*sent)
        assert await imported(other, await exported(one)) == Imported(new=len(sent), stood=0)
        assert unplaced(await read_all(other)) == unplaced(await read_all(one)) == unplaced(sent)


async def test_what_a_newer_publisher_said_survives_the_round_trip(tmp_path: Path) -> None:
    """Fields that these contracts do not know are in the log, and JSON has no names for them: such data travels as its bytes."""
    newer = event(1)
    newer.data.value += b"\xa2\x06\x03abc"
    async with running_bus(tmp_path / "from") as origin, running_bus(tmp_path / "to") as target:
        await origin.publish(newer, event(2))
        text = await exported(origin)
        assert ["data_base64" in json.loads(line) for line in text.splitlines()] == [True, False]
        await imported(target, text)
        assert await read_all(target) == await read_all(origin)


async def test_an_import_may_be_repeated(tmp_path: Path) -> None:
    """What stands is counted and not stored again, also when the file holds an event twice."""
    async with running_bus(tmp_path) as bus:
        sent = [event(number) for number in range(3)]
        text = lines(*sent, sent[0])
        assert await imported(bus, text) == Imported(new=3, stood=1)
        assert await imported(bus, text + lines(event(9))) == Imported(new=1, stood=4)
        assert [number_of(one) for one in await read_all(bus)] == [0, 1, 2, 9]


async def test_many_events_keep_their_order_over_batches_and_pages(tmp_path: Path) -> None:
    """More than a request and a page hold."""
    async with running_bus(tmp_path) as bus:
        text = lines(*(event(number) for number in range(1234)))
        assert (await imported(bus, text)).new == 1234
        assert [json.loads(line)["data"]["pid"] for line in (await exported(bus)).splitlines()[1:]] == list(range(1, 1234))


async def test_an_export_takes_types_and_a_position(tmp_path: Path) -> None:
    """And tells where it came to, also when nothing matched there."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1), event(2, kind="stopped"), event(3), event(4, kind="stopped"))
        found = (await exported(bus, ("service.started",), 1)).splitlines()
        assert [json.loads(line)["position"] for line in found] == ["3"]
        async with client_of(bus) as client:
            assert await export_events(client, io.BytesIO(), ["budget.*"]) == (0, 4)
            with pytest.raises(TransferError, match="after position 99: that starts after the newest event"):
                await export_events(client, io.BytesIO(), after=99)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"{", "this is not JSON"),
        (b"[1]", "a CloudEvent is a JSON object"),
        (json.dumps(to_cloudevent(event(1)) | {"type": "no.such"}).encode(), "type: 'no.such' is not in the catalogue"),
        (json.dumps(to_cloudevent(event(1)) | {"subject": ""}).encode(), "subject: "),
        (json.dumps(to_cloudevent(event(1)) | {"source": "learning"}).encode(), "source: only 'system' may publish"),
        (b'"' + b"x" * (4 * 1024 * 1024) + b'"', "longer than"),
    ],
)
async def test_a_bad_line_is_named_and_what_stands_is_told(tmp_path: Path, bad: bytes, told: str) -> None:
    """The message says which lines are stored, and it is so; the corrected file brings the rest."""
    async with running_bus(tmp_path) as bus:
        good = [event(number) for number in range(502)]
        with pytest.raises(TransferError) as refused:
            await imported(bus, lines(*good[:501]) + b"\n" + bad + b"\n" + lines(good[501]))
        assert str(refused.value).startswith("line 503: ")
        assert told in str(refused.value)
        stored = len(await read_all(bus, page_size=1000))
        first = {500: 501, 501: 503}[stored]
        assert f"the lines before {first} are stored" in str(refused.value)
        assert await imported(bus, lines(*good)) == Imported(new=502 - stored, stood=stored)


async def test_a_broken_off_export_goes_on_where_it_ended(tmp_path: Path) -> None:
    """A line that was not finished is cut off and written again; the file is the same as one made in one go."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(*(event(number) for number in range(6)))
        whole = await exported(bus)
        file = tmp_path / "events.jsonl"
        file.write_bytes(whole[: whole.index(b'"position":"4"')])
        assert last_position(file) == 3
        done = await transfer("export", "--target", bus.address, "--resume", str(file))
        assert (done.returncode, file.read_bytes()) == (0, whole)
        again = await transfer("export", "--target", bus.address, str(file))
        assert again.returncode == 1
        assert "go on with --resume" in again.stderr


async def test_an_export_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    """The next one with the right words is not told that its file is there already."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1))
        file = tmp_path / "events.jsonl"
        refused = await transfer("export", "--target", bus.address, "--types", "no type!", str(file))
        assert (refused.returncode, file.exists()) == (1, False)
        done = await transfer("export", "--target", bus.address, "--types", "*", str(file))
        assert (done.returncode, file.read_bytes()) == (0, await exported(bus))


def test_only_an_export_can_be_gone_on_with(tmp_path: Path) -> None:
    """Another file stays as it is; an empty one, or none, begins at the beginning."""
    other = tmp_path / "notes.txt"
    other.write_text("my notes\nwithout an end")
    with pytest.raises(TransferError, match="does not end with an exported event"):
        last_position(other)
    assert other.read_text() == "my notes\nwithout an end"
    other.write_text("")
    assert last_position(other) == last_position(tmp_path / "nothing") == 0


async def test_the_command_line_goes_through_pipes(tmp_path: Path) -> None:
    """Export to the terminal, import from it; what was done is said beside it."""
    async with running_bus(tmp_path / "one") as one, running_bus(tmp_path / "other") as other:
        sent = [event(1, subject="ünï/☃", note="line\nbreak\u2028"), event(2)]
        await one.publish(*sent)
        out = await transfer("export", "--target", one.address, "--types", "budget.*,service.*", "-")
        assert out.stderr == "2 events; go on with --after 2\n"
        into = await transfer("import", "--target", other.address, "-", given=out.stdout)
        assert into.stderr == "2 events are new, 0 stood already\n"
        assert unplaced(await read_all(other)) == sent


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a sentence, not a traceback."""
    assert main(["import", "--target", f"unix:{tmp_path}/nobody.sock", str(tmp_path / "nothing.jsonl")]) == 1
    assert "No such file" in capsys.readouterr().err
