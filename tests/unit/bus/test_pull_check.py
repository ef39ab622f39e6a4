"""The short look at what a member says, against the contract's rules: both let through the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import Nack, PullRequest

from bus.subscription_service import _MOST_CREDIT, _PULL, _check
from mesh import boundary, errors

NUMBERS = st.sampled_from((-(2**31), -1, 0, 1, _MOST_CREDIT, _MOST_CREDIT + 1, 2**31 - 1))
POSITIONS = st.lists(st.sampled_from((-1, 0, 1, 7)), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> PullRequest:
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


def verdict(check: object, *arguments: object) -> list[str]:
    """The fields that are refused."""
    try:
        check(*arguments)  # type: ignore[operator]  # either of the two
    except errors.Refusal as refusal:
        return [str(refusal), *map(str, refusal.details)]
    return []


@settings(deadline=None)
@given(requests())
def test_the_look_and_the_rules_agree(request: PullRequest) -> None:
    """Refused with the same words, or let through."""
    assert verdict(_check, request) == verdict(boundary.check, request, _PULL)


def test_what_does_not_decode_is_refused() -> None:
    """As the body that it is."""
    with pytest.raises(errors.Refusal, match="Pull"):
        _check(boundary._UNDECODABLE)  # type: ignore[arg-type]  # as a guarded deserializer gives it
