"""Answers of other systems as values: how long they ask to wait, and foreign text made safe."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integration import exchange
from services.integration.exchange import Answer, Garbled

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", timedelta(seconds=7)),
        (" 0 ", timedelta()),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), timedelta()),
        ("Wed, 31 Dec 9999 23:59:59 GMT", exchange.LONGEST_WAIT),
        ("99999999999999999999", exchange.LONGEST_WAIT),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_rfc_9110_writes_it(text: str, wait: timedelta | None) -> None:
    """Seconds or a date; never negative, never more than a day; nothing for what is neither."""
    assert exchange.retry_after({"retry-after": text}, NOW) == wait


@given(text=st.text(max_size=40))
def test_no_header_breaks_the_reading_of_a_wait(text: str) -> None:
    """Whatever is sent, the wait is in bounds or there is none."""
    for wait in (exchange.retry_after({"retry-after": text}, NOW), exchange.wait_until_epoch(text, NOW)):
        assert wait is None or timedelta() <= wait <= exchange.LONGEST_WAIT


@given(seconds=st.integers(-(10**6), 10**12))
def test_a_reset_time_becomes_the_time_until_then(seconds: int) -> None:
    """GitHub's Unix time, bounded."""
    reset = int(NOW.timestamp()) + seconds
    if reset >= 0:
        wait = exchange.wait_until_epoch(str(reset), NOW)
        assert wait == max(timedelta(), min(timedelta(seconds=min(seconds, 10**6)), exchange.LONGEST_WAIT))


@given(text=st.text(max_size=600))
def test_foreign_text_is_made_safe(text: str) -> None:
    """One line, encodable, not too long, nothing that controls; what was safe stays as it was."""
    safe = exchange.clean(text)
    safe.encode()
    assert len(safe) <= 300
    assert len(safe.splitlines()) <= 1
    assert not {unicodedata.category(letter) for letter in safe} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(letter) for letter in safe} & {
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    }
    if text.isprintable() and len(text) <= 300:
        assert safe == text


@pytest.mark.parametrize(
    "text",
    ["the \U0001f469\u200d\U0001f4bb kit", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u5168\u3000\u89d2", "10\u00a0%"],
)
def test_joiners_and_wide_spaces_are_of_the_text(text: str) -> None:
    """One emoji of several letters stays one, a Persian word stays one, and a file keeps its name."""
    assert exchange.clean(text) == text


def test_a_lone_surrogate_cannot_pass() -> None:
    """JSON may hold one; protobuf and SQLite may not."""
    assert exchange.clean(json.loads('"a\\ud800b"')) == "a?b"


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_garbled(body: bytes) -> None:
    """Proxies answer with pages; nesting without end is no crash."""
    with pytest.raises(Garbled):
        Answer(200, {}, body).json()


def test_an_object_is_an_object() -> None:
    """A list where an object is due is garbled too."""
    with pytest.raises(Garbled):
        Answer(200, {}, b"[]").object()
