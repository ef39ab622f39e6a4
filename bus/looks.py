"""A look tells of most requests of the hot calls that they keep the contract's rules; only for the others are the rules asked.

Asking takes longer than such a call itself, and the first time the rules have to be loaded, which nobody should wait for who wants
the first event after a start. A look never lets through what the rules would not.
"""

import re

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter

from mesh import boundary

PULL, FOLLOW, READ = (f"tooloo.bus.v1.EventBus/{name}" for name in ("Pull", "Follow", "ReadEvents"))
# the contract's limits
_MOST_CREDIT = 100_000
_MOST_TYPES = 64
_LONGEST_TYPE = 128
_LARGEST_PAGE = 1000
_LONGEST_TOKEN = 256
_TYPE = re.compile(r"([a-z][a-z0-9_]*\.)*([a-z][a-z0-9_]*|\*)")


def check_pull(request: pb.PullRequest) -> None:
    """Refuses what breaks the rules. Most requests only acknowledge and give credit."""
    if not (isinstance(request, pb.PullRequest) and _pull_is_plain(request)):
        boundary.check(request, PULL)


def check_follow(request: pb.FollowRequest) -> None:
    """Refuses what breaks the rules. Most followers want some types from a position on."""
    if not (isinstance(request, pb.FollowRequest) and _follow_is_plain(request)):
        boundary.check(request, FOLLOW)


def check_read(request: pb.ReadEventsRequest) -> None:
    """Refuses what breaks the rules. Most readers want some types from a position on."""
    if not (isinstance(request, pb.ReadEventsRequest) and _read_is_plain(request)):
        boundary.check(request, READ)


def _pull_is_plain(request: pb.PullRequest) -> bool:
    more = request.nacks or request.extend or request.ack or request.subscription or request.HasField("heartbeat")
    credit = 0 <= request.credit_events <= _MOST_CREDIT and request.credit_bytes >= 0
    return not more and credit and request.ack_up_to >= 0


def _follow_is_plain(request: pb.FollowRequest) -> bool:
    start = request.start
    begins = not start.HasField("time") and start.after_position >= 0
    return begins and not request.HasField("heartbeat") and _filter_is_plain(request.filter)


def _read_is_plain(request: pb.ReadEventsRequest) -> bool:
    begins = not request.HasField("from_time") and request.after_position >= 0
    page = 0 <= request.page_size <= _LARGEST_PAGE and len(request.page_token) <= _LONGEST_TOKEN
    return begins and page and _filter_is_plain(request.filter)


def _filter_is_plain(wanted: EventFilter) -> bool:
    """Whether it names types alone, and in the right form."""
    if wanted.sources or wanted.subject_prefix or wanted.attributes or wanted.cel or len(wanted.types) > _MOST_TYPES:
        return False
    return all(len(name) <= _LONGEST_TYPE and _TYPE.fullmatch(name) for name in wanted.types)
