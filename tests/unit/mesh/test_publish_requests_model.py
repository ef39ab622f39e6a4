"""Requests to publish in any order of sends, answers, refusals, breaks and timeouts: nobody is lost, or hears what is not his."""

import asyncio
from collections import deque
from math import inf
from typing import Any

import grpc
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesh.errors import Refusal, unavailable
from mesh.publish_requests import Request, Requests, Waiting
from tests.unit.mesh.requests_bench import BYTES, EVENTS, IN_FLIGHT, error_of, told

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
