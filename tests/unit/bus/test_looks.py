"""The short looks at requests, against the contract's rules: both refuse the same with the same words; a start loads no rules."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import FollowRequest, Nack, PullRequest, ReadEventsRequest
from tooloo.bus.v1.subscription_pb2 import EventFilter, StartAt

from bus import looks
from mesh import boundary, errors

NUMBERS = st.sampled_from((-(2**31), -1, 0, 1, 1000, 1001, looks._MOST_CREDIT, looks._MOST_CREDIT + 1, 2**31 - 1))
POSITIONS = st.lists(st.sampled_from((-1, 0, 1, 7)), max_size=3)
TYPES = st.sampled_from(
    ("*", "a", "a.*", "a.b_9.c", "", ".", "a.", "*.a", "a*", "A", "9", "a..b", "a\n", "ä", "a" * 128, "a" * 129, "a." * 64, "a.*\n")
)
SECONDS = st.sampled_from((-1, 0, 5, 301, 253_402_300_800))


@st.composite
def filters(draw: st.DrawFn) -> EventFilter:
    """Mostly types alone, now and then too many."""
    types = draw(st.lists(TYPES | st.from_regex(looks._TYPE), max_size=3)) * draw(st.sampled_from((1, 1, 1, 30)))
    wanted = EventFilter(types=types)
    if draw(st.integers(0, 3)) == 0:
        wanted.sources.extend(draw(st.lists(st.sampled_from(("provider", "No", "")), max_size=2)))
        wanted.subject_prefix = draw(st.sampled_from(("", "users/", "\n", "x" * 513)))
        wanted.attributes.update(draw(st.dictionaries(st.sampled_from(("lang", "No")), st.sampled_from(("", "x" * 257)))))
        wanted.cel = draw(st.sampled_from(("", "true", "x" * 2049)))
    return wanted


@st.composite
def follows(draw: st.DrawFn) -> FollowRequest:
    """Anything that a follower may ask, rightly or not."""
    request = FollowRequest(stamp_positions=draw(st.booleans()))
    kind = draw(st.sampled_from(("", "after", "beginning", "time")))
    if kind == "after":
        request.start.after_position = draw(NUMBERS)
    elif kind == "beginning":
        request.start.CopyFrom(StartAt(beginning=draw(st.booleans())))
    elif kind:
        request.start.time.seconds = draw(SECONDS)
    if draw(st.booleans()):
        request.filter.CopyFrom(draw(filters()))
    if draw(st.integers(0, 3)) == 0:
        request.heartbeat.seconds = draw(SECONDS)
    return request


@st.composite
def reads(draw: st.DrawFn) -> ReadEventsRequest:
    """Anything that a reader may ask, rightly or not."""
    request = ReadEventsRequest(after_position=draw(NUMBERS), page_size=draw(NUMBERS))
    request.page_token = draw(st.sampled_from(("", "x", "x" * 256, "ä" * 256, "x" * 257)))
    if draw(st.booleans()):
        request.filter.CopyFrom(draw(filters()))
    if draw(st.integers(0, 3)) == 0:
        request.from_time.seconds = draw(SECONDS)
    return request


@st.composite
def pulls(draw: st.DrawFn) -> PullRequest:
    """Anything a member may say, rightly or not."""
    request = PullRequest(
        subscription=draw(st.sampled_from(("", "reader", "No", "x" * 80))),
        credit_events=draw(NUMBERS),
        credit_bytes=draw(NUMBERS),
        ack_up_to=draw(NUMBERS),
        ack=draw(POSITIONS),
        extend=draw(POSITIONS),
        nacks=[Nack(position=position) for position in draw(POSITIONS)],
        fencing_token=draw(NUMBERS),
        leave=draw(st.booleans()),
    )
    if draw(st.booleans()):
        request.heartbeat.seconds = draw(st.sampled_from((-1, 0, 5, 301)))
    return request


def verdict(check: Callable[..., None], *arguments: object) -> list[str]:
    """The fields that are refused."""
    try:
        check(*arguments)
    except errors.Refusal as refusal:
        return [str(refusal), *map(str, refusal.details)]
    return []


@given(pulls())
def test_the_look_at_a_pull_and_the_rules_agree(request: PullRequest) -> None:
    """Refused with the same words, or let through."""
    assert verdict(looks.check_pull, request) == verdict(boundary.check, request, looks.PULL)


@settings(max_examples=300)
@given(follows())
def test_the_look_at_a_follow_and_the_rules_agree(request: FollowRequest) -> None:
    """Refused with the same words, or let through."""
    assert verdict(looks.check_follow, request) == verdict(boundary.check, request, looks.FOLLOW)


@settings(max_examples=300)
@given(reads())
def test_the_look_at_a_read_and_the_rules_agree(request: ReadEventsRequest) -> None:
    """Refused with the same words, or let through."""
    assert verdict(looks.check_read, request) == verdict(boundary.check, request, looks.READ)


@pytest.mark.parametrize(
    ("check", "name"), [(looks.check_pull, "Pull"), (looks.check_follow, "Follow"), (looks.check_read, "ReadEvents")]
)
def test_what_does_not_decode_is_refused(check: Callable[[Any], None], name: str) -> None:
    """As the body that it is."""
    with pytest.raises(errors.Refusal, match=name):
        check(boundary._UNDECODABLE)


def test_the_first_event_waits_for_no_rules() -> None:
    """A follower with plain wishes, in a new process: the library of the rules is not loaded."""
    program = (
        "import sys, bus.__main__\n"
        "from bus import looks\n"
        "from tooloo.bus.v1.bus_service_pb2 import FollowRequest, ReadEventsRequest\n"
        "request = FollowRequest(filter={'types': ['dag.*']}, start={'after_position': 7})\n"
        "looks.check_follow(request)\n"
        "looks.check_read(ReadEventsRequest(page_size=1))\n"
        "sys.exit('protovalidate' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
