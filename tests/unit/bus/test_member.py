"""A member's stream: a sign of life after each silence and no other, whatever else is sent; nothing is left when it ends."""

import asyncio
from array import array
from collections.abc import Sequence

import pytest
from tooloo.bus.v1.bus_service_pb2 import PullResponse
from tooloo.event.v1.event_pb2 import Event

from bus.deliveries import Entry
from bus.member import Member
from bus.slices import Slice
from tests.support.waiting import turns

BODY = PullResponse(events=[Event(id="x")]).SerializeToString()


class Loop:
    """Stands for the loop where a member asks for the time and for a call later."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, object]] = []
        self.cancelled = 0

    def time(self) -> float:
        """The time, which the test moves."""
        return self.now

    def call_later(self, seconds: float, call: object, *arguments: object) -> "Loop":
        """Notes the one timer."""
        assert seconds > 0
        self.timers.append((self.now + seconds, call))
        return self

    def cancel(self) -> None:
        """The timer is no longer needed."""
        self.cancelled += 1

    def advance(self, member: Member, seconds: float) -> None:
        """Time passes; what falls due is called."""
        end = self.now + seconds
        while self.timers and self.timers[-1][0] <= end:
            self.now = self.timers.pop()[0]
            member._watch(self)  # type: ignore[arg-type]  # as much of a loop as it asks for
            assert len(self.timers) == 1, "one timer for the stream"
        self.now = end


async def stamp(response: PullResponse, delivers: bool) -> None:
    """Nothing to add."""


def send(member: Member, positions: Sequence[int]) -> None:
    """Queues events."""
    member.send([Entry(position, "a", attempts=1) for position in positions], dict.fromkeys(positions, BODY), 1 << 20)


async def test_a_sign_of_life_comes_after_each_silence_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the last message, not from the last sign; one timer for the stream."""
    clock = Loop()
    monkeypatch.setattr("bus.member.asyncio.get_running_loop", lambda: clock)
    member = Member(1, 5.0, counts_bytes=False)
    heard: list[int] = []

    async def listen() -> None:
        async for encoded in member.responses(stamp):
            heard.append(len(PullResponse.FromString(encoded).positions))

    listening = asyncio.create_task(listen())
    await turns()
    assert heard == [0]
    clock.advance(member, 4.0)
    send(member, [1, 2])
    await turns()
    assert heard == [0, 2]
    # five seconds after the opening, one after the events
    clock.advance(member, 1.5)
    await turns()
    assert heard == [0, 2]
    clock.advance(member, 3.5)
    await turns()
    assert heard == [0, 2, 0]
    clock.advance(member, 4.9)
    await turns()
    assert heard == [0, 2, 0]
    clock.advance(member, 0.1)
    await turns()
    assert heard == [0, 2, 0, 0]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert clock.cancelled == 1


async def test_a_stream_that_is_not_read_gathers_no_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its reader waits, there is one sign when it comes back."""
    clock = Loop()
    monkeypatch.setattr("bus.member.asyncio.get_running_loop", lambda: clock)
    member = Member(1, 5.0, counts_bytes=False)
    answers = member.responses(stamp)
    await anext(answers)
    clock.advance(member, 100.0)
    assert not PullResponse.FromString(await anext(answers)).positions
    further = asyncio.ensure_future(anext(answers))
    await turns()
    assert not further.done()
    further.cancel()
    await asyncio.gather(further, return_exceptions=True)


async def test_the_end_of_a_stream_takes_its_timer_along() -> None:
    """Whichever way it ends: in good order, with a refusal, or because nobody reads on."""
    for end in ("finish", "fail", "close"):
        member = Member(1, 300.0, counts_bytes=False)
        answers = member.responses(stamp)
        await anext(answers)
        watching = member._watching
        assert watching is not None
        if end == "finish":
            member.finish()
            assert [answer async for answer in answers]
        elif end == "fail":
            member.fail(ValueError("refused"))
            with pytest.raises(ValueError, match="refused"):
                await anext(answers)
        else:
            await answers.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert watching.cancelled()


async def test_first_deliveries_name_each_event_and_are_counted_by_their_bytes() -> None:
    """Whether they come in one slice or several, with gaps or without; the answer reads as if protobuf had written it."""
    member = Member(1, 300.0, counts_bytes=True)
    member.credit_events, member.credit_bytes = 100, 10_000
    answers = member.responses(stamp)
    await anext(answers)
    scattered = array("q", [3, 7, 300])
    slices = [Slice(range(1, 3), BODY * 2), Slice(scattered, BODY * 3), Slice(range(2**40, 2**40 + 300), BODY * 300)]
    member.send_slices(slices[:2], 1 << 20, 1000)
    member.send_slices(slices[2:], 1 << 20, 1000)
    for positions in ([1, 2, *scattered], list(range(2**40, 2**40 + 300))):
        answer = PullResponse.FromString(await anext(answers))
        assert list(answer.positions) == [event.position for event in answer.events] == positions
        assert list(answer.attempts) == [1] * len(positions)
        assert answer.fencing_token == 1
        member.credit_bytes += len(PullResponse(events=answer.events).SerializeToString())
        member.credit_events += len(positions)
    assert (member.credit_events, member.credit_bytes) == (100, 10_000)
    await answers.aclose()  # type: ignore[attr-defined]  # it is a generator
