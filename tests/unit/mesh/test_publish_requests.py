"""What waits to be published: how callers share requests, and who is told what when they break, are refused or come too late."""

import asyncio
from collections import deque
from math import inf

import grpc
import pytest

from mesh.publish_requests import Requests, Waiting
from tests.unit.mesh.requests_bench import BYTES, IN_FLIGHT, error_of, told


@pytest.fixture
def waiting() -> deque[Waiting]:
    """Who waits."""
    return deque()


def come(waiting: deque[Waiting], *counts: int, size: int = 1) -> list[Waiting]:
    """Callers, each with so many events."""
    loop = asyncio.get_running_loop()
    callers = [Waiting(b"x" * size, count, loop.create_future(), inf) for count in counts]
    waiting.extend(callers)
    return callers


def sent(requests: Requests) -> list[list[int]]:
    """Sends what may be sent; the counts of each request's callers."""
    found = []
    while request := requests.next():
        requests.sent.append(request)
        found.append([caller.count for caller in request.callers])
    return found


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((499, 1, 1), [499, 1]), ((499, 2), [499]), ((501, 1), [501]), ((1, 501), [1]), ((500,), [500])],
)
async def test_a_request_holds_so_many_events(waiting: deque[Waiting], counts: tuple[int, ...], expected: list[int]) -> None:
    """Callers in their order, up to 500 events; one with more goes alone, none is split."""
    come(waiting, *counts)
    assert sent(Requests(waiting)) == [expected]


@pytest.mark.parametrize(("size", "shared"), [(BYTES // 2, 2), (BYTES // 2 + 1, 1), (BYTES // 3, 3), (BYTES + 1, 1)])
async def test_a_request_holds_so_many_bytes(waiting: deque[Waiting], size: int, shared: int) -> None:
    """Up to 96 KiB; a caller with more goes alone."""
    come(waiting, 1, 1, 1, 1, size=size)
    assert sent(Requests(waiting))[0] == [1] * shared


@pytest.mark.parametrize(
    ("callers", "size", "goes"), [(249, 1, False), (250, 1, True), (1, BYTES // 2 - 1, False), (1, BYTES // 2, True)]
)
async def test_a_small_request_waits_for_the_one_under_way(waiting: deque[Waiting], callers: int, size: int, goes: bool) -> None:
    """What comes meanwhile goes together; what fills half a request does not wait."""
    requests = Requests(waiting)
    come(waiting, 1)
    assert sent(requests) == [[1]]
    come(waiting, *[1] * callers, size=size)
    assert bool(sent(requests)) is goes


async def test_so_many_are_under_way_and_no_more(waiting: deque[Waiting]) -> None:
    """Each answer makes room for one."""
    requests = Requests(waiting)
    come(waiting, *[500] * 40, size=BYTES)
    assert len(sent(requests)) == IN_FLIGHT
    requests.sent.popleft()
    assert len(sent(requests)) == 1


async def test_what_was_not_acknowledged_goes_again_in_its_order_before_all_else(waiting: deque[Waiting]) -> None:
    """Also what was waiting for its second try already."""
    requests = Requests(waiting)
    come(waiting, 501, 502, 503, size=BYTES)
    sent(requests)
    come(waiting, 504, size=BYTES)
    requests.take_back(error_of(grpc.StatusCode.UNAVAILABLE))
    requests.sent.append(requests.again.popleft())
    requests.take_back(error_of(grpc.StatusCode.UNAVAILABLE))
    assert sent(requests) == [[501], [502], [503], [504]]


async def test_a_shared_request_is_refused_for_the_one_at_fault_alone(waiting: deque[Waiting]) -> None:
    """Each goes by itself, in order, before what was under way behind them."""
    requests = Requests(waiting)
    first, second, third = come(waiting, 1, 2, 3, size=BYTES // 3)
    sent(requests)
    behind = come(waiting, 4, size=BYTES)
    sent(requests)
    requests.take_back(error_of(grpc.StatusCode.FAILED_PRECONDITION))
    assert [[caller.count for caller in request.callers] for request in requests.again] == [[1], [2], [3], [4]]
    assert [told(caller) for caller in (first, second, third, *behind)] == [None] * 4
    for request in (requests.again.popleft(), requests.again.popleft()):
        requests.sent.append(request)
    requests.sent.popleft().acknowledge([7])
    requests.take_back(error_of(grpc.StatusCode.FAILED_PRECONDITION))
    assert [told(caller) for caller in (first, second, third)] == [[7], grpc.StatusCode.FAILED_PRECONDITION, None]


async def test_who_was_cancelled_leaves_the_others_their_positions(waiting: deque[Waiting]) -> None:
    """His events went out with theirs and have positions of their own; what nobody waits for any more goes to nobody again."""
    requests = Requests(waiting)
    first, second, third = come(waiting, 1, 2, 1)
    sent(requests)
    second.done.cancel()
    requests.sent[0].acknowledge([4, 5, 6, 9])
    assert [told(caller) for caller in (first, second, third)] == [[4], "cancelled", [9]]
    requests.take_back(error_of(grpc.StatusCode.UNAVAILABLE))
    assert requests.next() is None


async def test_what_grpc_refuses_for_its_size_is_refused_for_good(waiting: deque[Waiting]) -> None:
    """It would be as large the next time; a bus with too much to do is another thing, though its code is the same."""
    requests = Requests(waiting)
    (caller,) = come(waiting, 1)
    sent(requests)
    requests.take_back(error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later"))
    assert told(caller) is None
    sent(requests)
    requests.take_back(error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max (9 vs. 4)"))
    assert told(caller) is grpc.StatusCode.INVALID_ARGUMENT
