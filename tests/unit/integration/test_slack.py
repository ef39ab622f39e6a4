"""Slack's answers: what is sent, what is waited for, what is tried again, what is given up."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integration import slack
from services.integration.exchange import Answer, Limited, Refused, RemoteError, Unreachable
from services.integration.slack import Posted

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


@given(text=st.text(min_size=1))
def test_a_text_is_sent_as_it_is(text: str) -> None:
    """Every character arrives; a lone surrogate cannot come this far, because protobuf refuses it."""
    call = slack.post_message("https://slack.com/api/", "xoxb", "#c", text)
    assert json.loads(call.body) == {"channel": "#c", "text": text}
    assert call.url == "https://slack.com/api/chat.postMessage"
    assert json.loads(slack.post_webhook("https://hooks", text).body) == {"text": text}


def test_a_posted_message_has_its_place() -> None:
    """The channel's id and the message's time stamp, which is its id."""
    assert slack.read_post(answer({"ok": True, "channel": "C1", "ts": "1.2"}), NOW) == Posted("C1", "1.2")
    assert slack.read_webhook(Answer(200, {}, b"ok"), NOW) == Posted()


@pytest.mark.parametrize(
    ("given_answer", "wait"),
    [
        (answer({"ok": False, "error": "ratelimited"}, 429, retry_after="30"), 30),
        (answer({"ok": False, "error": "ratelimited"}), slack.DEFAULT_WAIT.total_seconds()),
        (answer({}, 429), slack.DEFAULT_WAIT.total_seconds()),
    ],
)
def test_a_limit_says_how_long(given_answer: Answer, wait: float) -> None:
    """Retry-After, else half a minute."""
    with pytest.raises(Limited) as caught:
        slack.read_post(given_answer, NOW)
    assert caught.value.wait == timedelta(seconds=wait)


@pytest.mark.parametrize(
    ("given_answer", "error"),
    [
        (answer({"ok": False, "error": "channel_not_found"}), Refused),
        (answer({"ok": False}), Refused),
        (answer({"ok": False, "error": "internal_error"}), Unreachable),
        (answer({}, 500), Unreachable),
        (Answer(200, {}, b"ok"), Unreachable),
    ],
)
def test_a_no_has_its_meaning(given_answer: Answer, error: type[RemoteError]) -> None:
    """Errors of Slack's own making are worth another try, the others are not."""
    with pytest.raises(error) as caught:
        slack.read_post(given_answer, NOW)
    assert type(caught.value) is error or error is Unreachable


def test_a_webhook_says_no_in_plain_text() -> None:
    """With a status of 400 or more and one word."""
    with pytest.raises(Refused) as caught:
        slack.read_webhook(Answer(410, {}, b"channel_is_archived"), NOW)
    assert caught.value.code == "channel_is_archived"


@given(body=st.binary(max_size=50), status=st.integers(200, 599))
def test_no_answer_breaks_the_reading(body: bytes, status: int) -> None:
    """Whatever comes: a place, or a RemoteError."""
    for read in (slack.read_post, slack.read_webhook):
        with suppress(RemoteError):
            assert isinstance(read(Answer(status, {}, body), NOW), Posted)
