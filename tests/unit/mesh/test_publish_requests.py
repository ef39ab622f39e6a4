"""What waits to be published: how callers share requests, and who is told what when they break, are refused or come too late."""

import asyncio
from collections import deque
from math import inf
from typing import Any

import grpc
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesh.errors import Refusal, unavailable
from mesh.publish_requests import Request, Requests, Waiting

EVENTS, BYTES, IN_FLIGHT = 500, 96 * 1024, 16
BODIES = {size: b"x" * size for size in (1, 100, BYTES // 2, BYTES - 1, BYTES, BYTES + 1)}
# callers: their events, bytes and patience, and whether they are at fault
MANY = st.lists(
    st.tuples(
        st.sampled_from((1, 1, 2, 249, 250, 500, 501)),
        st.sampled_from(sorted(BODIES)),
        st.sampled_from((inf, 5.0, 11.0)),
        st.sampled_from((False, False, False, True)),
    ),
    min_size=1,
    max_size=8,
)
FINAL = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS)
PASSING = (
    *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL),
    *(grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED),
)


def error_of(code: grpc.StatusCode, details: str = "as the test says") -> grpc.aio.AioRpcError:
    """What ends a stream."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


def told(caller: Waiting) -> Any:
    """What a caller heard: positions, a refusal's reason, "cancelled", or None so far."""
    if not caller.done.done():
        return None
    if caller.done.cancelled():
        return "cancelled"
    error = caller.done.exception()
    return error.code if isinstance(error, Refusal) else error or caller.done.result()


class RequestsMachine(RuleBasedStateMachine):
    """Callers of all sizes, and a bus that stores each one's events once, in the order in which requests reach it.

    A caller at `fault` is one whose events the bus refuses for good, with whatever shares their request.
    """

    @initialize(many=MANY, is_closed=st.booleans())
    def begin(self, many: list[tuple[int, int, float, bool]], is_closed: bool) -> None:
        """Some wait. In the end it is closed in the middle of what it does, or goes on until nobody waits any more."""
        self.is_closed = is_closed
        self.loop = asyncio.new_event_loop()
        self.waiting: deque[Waiting] = deque()
        self.requests = Requests(self.waiting)
        self.callers: list[Waiting] = []
        self.numbers: dict[int, int] = {}
        self.fault: set[int] = set()
        # what each caller ought to hear in the end, where it is settled
        self.expected: dict[int, Any] = {}
        # positions of what the bus has stored, by caller
        self.stored: dict[int, list[int]] = {}
        self.head = 0
        self.now = 100.0
        self.come(many)

    def teardown(self) -> None:
        """In the end, from a bus that does not break any more, everybody hears something, and the right thing."""
        if not hasattr(self, "requests"):
            return
        if self.is_closed:
            self.close()
        for _ in range(3 * len(self.callers) + 3):
            while self.send():
                pass
            if not self.answer_one() and not self.waiting and not self.requests.again:
                break
        for number, caller in enumerate(self.callers):
            assert caller.done.done(), "a caller is lost"
            assert number in self.expected
        self.everybody_heard_the_right_thing()
        self.loop.close()

    def everybody_heard_the_right_thing(self) -> None:
        """Nobody hears more, or anything else, than what happened."""
        for number, caller in enumerate(self.callers):
            assert told(caller) == self.expected.get(number)

    @rule(many=MANY)
    def come(self, many: list[tuple[int, int, float, bool]]) -> None:
        """Callers, few or many at once."""
        for count, size, seconds, at_fault in many:
            caller = Waiting(BODIES[size], count, self.loop.create_future(), self.now + seconds)
            if at_fault:
                self.fault.add(len(self.callers))
            self.numbers[id(caller)] = len(self.callers)
            self.callers.append(caller)
            self.waiting.append(caller)

    @rule(count=st.integers(260, 510))
    def crowd(self, count: int) -> None:
        """More than a request holds."""
        self.come([(1, 100, inf, False)] * count)

    @rule(times=st.integers(1, 20))
    def send_some(self, times: int) -> None:
        """As much as there is room for."""
        for _ in range(times):
            if not self.send():
                return

    def send(self) -> bool:
        """What goes out next, as who publishes does it; within the limits, and to somebody's good."""
        request = self.requests.next()
        if request is None:
            return False
        assert request.wanted
        assert request.count == sum(caller.count for caller in request.callers)
        if len(request.callers) > 1:
            assert request.count <= EVENTS
            assert sum(len(caller.body) for caller in request.callers) <= BYTES
        self.requests.sent.append(request)
        assert len(self.requests.sent) <= IN_FLIGHT
        return True

    @rule(times=st.integers(1, 20))
    def answer(self, times: int) -> None:
        """The bus answers what it got first."""
        for _ in range(times):
            if not self.answer_one():
                return

    def store(self, request: Request) -> list[int] | None:
        """The positions of all its events, stored now or before; None when the bus refuses it."""
        numbers = [self.numbers[id(caller)] for caller in request.callers]
        if self.fault & set(numbers):
            return None
        for number in numbers:
            count = self.callers[number].count
            if number not in self.stored:
                self.stored[number] = list(range(self.head + 1, self.head + count + 1))
                self.head += count
        return [position for number in numbers for position in self.stored[number]]

    def answer_one(self) -> bool:
        """One answer; False when nothing is under way."""
        if not self.requests.sent:
            return False
        request = self.requests.sent[0]
        positions = self.store(request)
        if positions is None:
            code = FINAL[self.head % len(FINAL)]
            self.refuse(request, code)
            self.requests.take_back(error_of(code))
            return True
        self.requests.sent.popleft()
        for caller in request.callers:
            number = self.numbers[id(caller)]
            self.expected.setdefault(number, self.stored[number])
        request.acknowledge(positions)
        return True

    def refuse(self, request: Request, code: grpc.StatusCode) -> None:
        """Whoever is refused by himself hears of it; of those who share a request, nobody."""
        if len(request.callers) == 1:
            self.expected.setdefault(self.numbers[id(request.callers[0])], code)

    @rule(reached=st.integers(0, 16), code=st.sampled_from(PASSING))
    def breaks(self, reached: int, code: grpc.StatusCode) -> None:
        """The stream ends; some of what was under way has reached the bus, the answers have not come back."""
        for request in list(self.requests.sent)[:reached]:
            if self.store(request) is None:
                break
        self.requests.take_back(error_of(code))
        assert not self.requests.sent

    @precondition(lambda self: self.requests.again and not self.requests.sent)
    @rule()
    def is_asked(self) -> None:
        """The first of what goes again goes by a call of its own, whose refusal is meant for it."""
        request = self.requests.again[0]
        if self.store(request) is None:
            self.requests.again.popleft()
            self.refuse(request, grpc.StatusCode.ABORTED)
            self.requests.refused(request, Refusal(grpc.StatusCode.ABORTED, "no", ()))

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        """A caller does not want to know any more."""
        number = data.draw(st.integers(0, len(self.callers) - 1))
        self.callers[number].done.cancel()
        self.expected.setdefault(number, "cancelled")

    @rule(seconds=st.sampled_from((0.0, 5.0, 6.0)))
    def time_passes(self, seconds: float) -> None:
        """Exactly those whose time is up hear of it, wherever they are; the time of the next is known."""
        self.now += seconds
        standing = [(number, caller) for number, caller in enumerate(self.callers) if number not in self.expected]
        for number, caller in standing:
            if caller.deadline <= self.now:
                self.expected[number] = grpc.StatusCode.UNAVAILABLE
        left = [caller.deadline for number, caller in standing if number not in self.expected]
        assert self.requests.sweep(self.now) == min(left, default=inf)
        assert all(not caller.done.done() for caller in self.waiting), "who was told is forgotten"

    def close(self) -> None:
        """Everybody who waits is told, wherever he is."""
        self.requests.refuse_all(unavailable("bus", detail="closed"))
        for number in range(len(self.callers)):
            self.expected.setdefault(number, grpc.StatusCode.UNAVAILABLE)
        assert not any((self.waiting, self.requests.sent, self.requests.again))

    @invariant()
    def everybody_is_somewhere_once(self) -> None:
        """Who has heard nothing is in one place and no other; who has heard something has heard the right thing."""
        if not hasattr(self, "requests"):
            return
        queues = (self.requests.sent, self.requests.again)
        places = [*self.waiting, *(caller for queue in queues for request in queue for caller in request.callers)]
        standing = [id(caller) for caller in self.callers if not caller.done.done()]
        assert sorted(id(caller) for caller in places if not caller.done.done()) == sorted(standing)
        self.everybody_heard_the_right_thing()


RequestsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
test_requests = RequestsMachine.TestCase


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
