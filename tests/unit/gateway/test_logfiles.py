"""Log files read from the newest line back: every line once, in order, whatever the pages, the limits and the rotations."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import logfiles
from gateway.logfiles import Budget, find, read_back
from gateway.loglines import Filter, Record
from gateway.logtail import LogTail, records
from gateway.settings import SystemSettings

START = datetime(2026, 1, 2, tzinfo=UTC)


def line(number: int, **fields: object) -> bytes:
    """The JSON line of a number; the time grows with it."""
    time = START + timedelta(milliseconds=number)
    return json.dumps({"time": time.isoformat(), "level": "INFO", "message": str(number)} | fields).encode() + b"\n"


def pages(folder: Path, wanted: Filter, size: int, budget: int) -> list[Record]:
    """All records, page after page."""
    files = find(folder)
    places = {file.mark: file.size for file in files if file.mark}
    found: list[Record] = []
    for _ in range(10_000):
        more, places = read_back(find(folder), places, wanted, size, Budget(budget))
        found += more
        if not places:
            return found
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("seed", range(20))
def test_every_line_comes_once_from_the_newest_back(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of several processes, blocks smaller than lines, limits that end a page early, text between the lines."""
    chance = random.Random(seed)
    monkeypatch.setattr(logfiles, "_BLOCK", chance.choice([7, 64, 4096]))
    count = chance.randint(1, 150)
    paths = [tmp_path / name for name in ("a-0.jsonl", "a-0.1.jsonl", "b-0.jsonl")]
    for number in range(count):
        with chance.choice(paths).open("ab") as file:
            file.write(line(number, padding="x" * chance.randint(0, 90)))
            file.write(b"Traceback\n  more\n" * (chance.random() < 0.1))
    found = pages(tmp_path, Filter(), chance.randint(1, 20), chance.choice([1, 200, 10**6]))
    numbers = [int(record.message) for record in found if record.message.isdigit()]
    assert numbers == list(reversed(range(count))), f"seed {seed}"
    texts = sum(path.read_bytes().count(b"Traceback") for path in paths if path.exists())
    assert sum(record.message.count("Traceback") for record in found) == texts, f"seed {seed}"


def test_a_page_goes_on_after_a_rotation(tmp_path: Path) -> None:
    """The file that was renamed is read on where the page before ended; the new file is newer than the first page."""
    (tmp_path / "a-0.jsonl").write_bytes(b"".join(map(line, range(10))))
    first, places = read_back(find(tmp_path), {file.mark: file.size for file in find(tmp_path)}, Filter(), 4, Budget(10**6))
    (tmp_path / "a-0.jsonl").rename(tmp_path / "a-0.1.jsonl")
    (tmp_path / "a-0.jsonl").write_bytes(b"".join(map(line, range(10, 15))))
    second, places = read_back(find(tmp_path), places, Filter(), 100, Budget(10**6))
    assert [int(each.message) for each in first + second] == list(reversed(range(10)))
    assert {each.process for each in second} == {"a-0"}
    assert not places


def test_a_file_that_moves_while_it_is_read_is_not_read_as_another(tmp_path: Path) -> None:
    """Its name may belong to a fresh file by then."""
    (tmp_path / "a-0.jsonl").write_bytes(b"".join(map(line, range(10))))
    files = find(tmp_path)
    (tmp_path / "a-0.jsonl").rename(tmp_path / "a-0.1.jsonl")
    (tmp_path / "a-0.jsonl").write_bytes(line(99))
    with pytest.raises(logfiles.MovedError):
        read_back(files, {file.mark: file.size for file in files}, Filter(), 4, Budget(10**6))


def test_only_what_is_wanted_comes(tmp_path: Path) -> None:
    """By level, service and text; a limit ends a page without losing what was not reached."""
    levels = ["INFO", "INFO", "ERROR"]
    (tmp_path / "a-0.jsonl").write_bytes(b"".join(line(n, level=levels[n % 3], service="ab"[n % 2]) for n in range(60)))
    found = pages(tmp_path, Filter(min_level="ERROR", service="b", contains='"message": "5'), 2, 100)
    assert [record.message for record in found] == ["59", "53", "5"]


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """It is being written."""
    (tmp_path / "a-0.jsonl").write_bytes(line(0) + b'{"half')
    assert [record.message for record in pages(tmp_path, Filter(), 10, 10**6)] == ["0"]


async def test_a_follower_gets_what_is_written_from_then_on_over_a_rotation(tmp_path: Path) -> None:
    """Once each, in order, the rest of the renamed file too; half a line only when it is whole."""
    path = tmp_path / "a-0.jsonl"
    path.write_bytes(line(0))
    tail = LogTail(tmp_path, SystemSettings())
    with tail.following() as follower:
        assert list(follower.places.values()) == [path.stat().st_size]
        with path.open("ab") as file:
            file.write(line(1) + line(2)[:20])
        seen, places = tail._read_new(follower.places)
        with path.open("ab") as file:
            file.write(line(2)[20:])
        path.rename(tmp_path / "a-0.1.jsonl")
        path.write_bytes(line(3))
        more, places = tail._read_new(places)
        nothing, _ = tail._read_new(places)
    assert [record.message for record, _ in seen + more] == ["1", "2", "3"]
    assert nothing == []


async def test_a_rotation_between_the_look_and_the_reading_ends_no_follower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has another name when it is opened: the next look finds it there and goes on where the last one ended."""
    path = tmp_path / "a-0.jsonl"
    path.write_bytes(line(0))
    tail = LogTail(tmp_path, SystemSettings())
    with tail.following() as follower:
        with path.open("ab") as file:
            file.write(line(1))
        found = find(tmp_path)
        path.rename(tmp_path / "a-0.1.jsonl")
        with monkeypatch.context() as between:
            between.setattr(logfiles, "find", lambda folder: found)
            seen, places = tail._read_new(follower.places)
        more, _ = tail._read_new(places)
    assert [record.message for record, _ in seen + more] == ["1"]


def test_text_follows_the_line_before_it(tmp_path: Path) -> None:
    """A traceback has the time of the record that it belongs to."""
    (tmp_path / "a-0.jsonl").write_bytes(b"x")
    lines = [line(7)[:-1], b"Traceback", b"  end", line(8)[:-1]]
    found = [record for record, _ in records(find(tmp_path)[0], lines)]
    assert [record.message for record in found] == ["7", "Traceback\n  end", "8"]
    assert found[1].time == found[0].time


def test_a_page_of_long_lines_ends_before_it_is_too_large(tmp_path: Path) -> None:
    """It is sent as one message; the rest comes on the next pages, and nothing is lost between them."""
    (tmp_path / "a-0.jsonl").write_bytes(b"".join(line(number, padding="x" * 1000) for number in range(30)))
    places = {file.mark: file.size for file in find(tmp_path)}
    found: list[Record] = []
    sizes = []
    while places:
        more, places = read_back(find(tmp_path), places, Filter(), 1000, Budget(10**6, room=5000))
        found += more
        sizes.append(len(more))
    assert [int(each.message) for each in found] == list(reversed(range(30)))
    assert max(sizes) == 5
