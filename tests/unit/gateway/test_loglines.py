"""Log lines as records: JSON of processes, the access log, Envoy's text, and whatever else stands in a file."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import loglines
from gateway.loglines import Filter, Record, parse
from mesh.logs import JsonFormatter

CALL = {"time": "2026-01-02T03:04:05.000Z", "method": "GET", "path": "/x", "status": 200, "duration_ms": 7, "service": "learning"}
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(st.binary(max_size=300), st.sampled_from(["learning-0", "access", "envoy", "system"]))
def test_any_bytes_are_a_record_or_text(line: bytes, process: str) -> None:
    """Nothing that a process may print stops the reading."""
    record = parse(process, line)
    assert record is None or record.level in loglines.LEVELS
    assert loglines.plain(process, line, MOMENT).time == MOMENT


@given(st.dictionaries(st.text(max_size=9), st.none() | st.integers() | st.text(max_size=9) | st.lists(st.integers()), max_size=9))
def test_any_object_is_a_record(entry: dict[str, object]) -> None:
    """Fields of another type than expected are no fault of the reader."""
    line = json.dumps(CALL | entry).encode()
    for process in ("access", "learning-0"):
        assert parse(process, line) is not None


@given(
    st.text(max_size=50), st.sampled_from(loglines.LEVELS), st.dictionaries(st.sampled_from(["trace_id", "error_id"]), st.text())
)
def test_what_a_process_logs_is_read_back(message: str, level: str, extra: dict[str, str]) -> None:
    """The formatter of mesh/logs.py and the reader agree."""
    written = logging.makeLogRecord({"name": "mesh.boot", "levelname": level, "msg": "%s", "args": (message,), **extra})
    record = parse("learning-1", JsonFormatter("learning").format(written).encode())
    assert record is not None
    assert (record.service, record.process, record.level) == ("learning", "learning-1", level)
    assert (record.logger, record.message, record.fields) == ("mesh.boot", message, extra)


@pytest.mark.parametrize(
    ("fields", "level", "shown"),
    [
        ({"grpc_status": "--"}, "INFO", "GET /x 200 7 ms"),
        ({"grpc_status": "-5"}, "WARNING", "GET /x NOT_FOUND 7 ms"),
        ({"grpc_status": "13-"}, "ERROR", "GET /x INTERNAL 7 ms"),
        ({"status": 429}, "WARNING", "GET /x 429 7 ms"),
        ({"status": 503}, "ERROR", "GET /x 503 7 ms"),
        ({"status": 0}, "INFO", "GET /x 0 7 ms"),
    ],
)
def test_a_call_is_as_severe_as_its_status(fields: dict[str, object], level: str, shown: str) -> None:
    """Refused is a warning, failed an error; a caller that left is neither."""
    record = parse("access", json.dumps(CALL | fields).encode())
    assert record is not None
    assert (record.level, record.message, record.service) == (level, shown, "learning")


def test_a_call_has_the_time_of_its_end_and_the_trace_of_its_header() -> None:
    """So it stands in order beside other lines, and is found by the trace that they have."""
    record = parse("access", json.dumps(CALL | {"traceparent": "00-abc-def-01", "upstream": None, "flags": "-"}).encode())
    assert record is not None
    assert record.time == MOMENT + timedelta(milliseconds=7)
    assert record.fields["trace_id"] == "abc"
    assert not {"upstream", "flags", "time"} & set(record.fields)


def test_envoys_own_lines_have_their_level() -> None:
    """They are text, not JSON."""
    record = parse("envoy", b"[2026-01-02 03:04:05.000][7][warning][main] [source/x.cc:1] caught ENVOY_SIGTERM")
    assert record == Record(MOMENT, "envoy", "envoy", "WARNING", "main", "[source/x.cc:1] caught ENVOY_SIGTERM")


def test_what_a_process_dies_of_is_an_error() -> None:
    """A traceback comes without a logger."""
    record = loglines.plain("learning-0", b"Traceback (most recent call last):\n  ...\nKeyError: 1", MOMENT)
    assert (record.service, record.level) == ("learning", "ERROR")


@given(
    st.sampled_from(["learning-0", "access", "envoy", "system"]),
    st.sampled_from(["learning", "envoy", "system", "analytics", ""]),
    st.sampled_from(loglines.LEVELS),
    st.fixed_dictionaries(
        {},
        optional={
            "service": st.sampled_from(["learning", "analytics", "envoy", None, 7]),
            "level": st.sampled_from([*loglines.LEVELS, "LOUD", None]),
            "status": st.sampled_from([200, 0, 404, 500, "200", None]),
            "grpc_status": st.sampled_from(["--", "-0", "0-", "-5", "13-", "-13", None]),
            "message": st.text(max_size=9),
        },
    ),
    st.sampled_from([(", ", ": "), (",", ":")]),
)
def test_no_line_is_ruled_out_that_is_wanted(
    process: str, service: str, level: str, entry: dict[str, object], separators: tuple[str, str]
) -> None:
    """The look at the text is only quicker: what it lets through is judged by the record, what it stops would not be wanted."""
    wanted = Filter(service=service, min_level=level)
    line = json.dumps(entry | {"end": 1}, separators=separators).encode()
    record = parse(process, line)
    assert record is not None
    assert wanted.line(process, line) or not wanted.record(record)


def test_a_filter_looks_at_process_text_level_and_service() -> None:
    """Text without regard to case; levels at least as severe."""
    record = Record(MOMENT, "learning", "learning-0", "WARNING", "", "Äpfel")
    assert Filter(contains="äPFEL", process="learning-0").line("learning-0", "x Äpfel".encode())
    assert not Filter(contains="pears").line("learning-0", b"apples")
    assert not Filter(process="bus-0").line("learning-0", b"apples")
    assert Filter(service="learning", min_level="WARNING").record(record)
    assert not Filter(min_level="ERROR").record(record)
    assert not Filter(service="bus").record(record)


@pytest.mark.parametrize("text", ['no "C:\\temp"', "two\nlines", '"message": "no'])
def test_a_text_is_found_as_it_is_shown(text: str) -> None:
    """Quotes, backslashes and ends of lines are spelt otherwise in a line of JSON; a piece of the line itself is found too."""
    line = json.dumps({"level": "INFO", "message": 'no "C:\\temp" two\nlines'}).encode()
    assert Filter(contains=text).line("learning-0", line)
