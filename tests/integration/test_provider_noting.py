"""What went as usual is noted with others a moment later: nothing of it is lost or counted twice, and what matters at once is."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import errors, testing
from mesh.db import Transaction
from mesh.errors import Refusal
from services.provider import availability_store, store
from services.provider.__main__ import build
from services.provider.availability import Outcome
from services.provider.flows import availability, learning, noting, seeing
from services.provider.flows import known as knowledge
from services.provider.flows.known import Known
from services.provider.flows.unnoted import Answer, Sight
from services.provider.health import ModelHealth
from services.provider.health_window import Seen
from services.provider.settings import ProviderSettings
from tests.integration.availability_bench import BIG, GIFT, MID, SMALL, START, House, environment, failed, house, succeeded
from tests.integration.completing_bench import desk_on

__all__ = ["house"]
NAME, LATER = ("acme", "big"), {"TOOLOO_PROVIDER_OUTCOME_DELAY": "1h"}
# a number of seconds that pass, then a success of so many milliseconds
SUCCESSES = st.lists(st.tuples(st.sampled_from((0, 1, 29, 31, 400)), st.integers(1, 5_000)), min_size=1, max_size=8)
ANSWERS = st.lists(
    st.builds(
        Answer,
        st.sampled_from((NAME, ("brim", "gift"))),
        st.sampled_from(("", "ada", "bob")),
        st.integers(1, 3_000),
        st.sampled_from((0, 20, 4_000)),
        st.sampled_from((0, 900)),
        st.just(START),
    ),
    min_size=1,
    max_size=10,
)


class Replica:
    """A process on the store: what it notes, and what waits in it."""

    def __init__(self, bench: testing.Bench, **more: str) -> None:
        self.host = bench.host
        env = {**environment(bench.host.data_folder), **LATER, **{f"TOOLOO_PROVIDER_{name}": value for name, value in more.items()}}
        self.known = knowledge.read(ProviderSettings.load(env), {"X": "y"})
        object.__setattr__(self.known, "keys_of", lambda provider_id: ("k1",))

    async def note(self, *outcomes: Outcome) -> None:
        """A settlement with these attempts."""
        await self.host.db.write(lambda tx: availability.note(self.host, tx, self.known, "", outcomes))

    async def flush(self) -> None:
        """The moment is over."""
        await noting.flush(self.host, self.known)

    async def stored(self) -> tuple[ModelHealth, Seen]:
        """What the tables say of the model."""
        return await self.host.db.read(lambda tx: availability_store.model_seen(tx, BIG, self.known.grain))

    async def calls(self) -> tuple[int, int]:
        """Calls of the model's bucket and of its key's."""
        key = await self.host.db.read(lambda tx: availability_store.key_seen(tx, "acme", "k1", self.known.grain))
        return (await self.stored())[1].bucket.calls, key.bucket.calls


async def test_successes_wait_and_are_noted_together(house: House) -> None:
    """Three settlements write nothing of health; a moment later all three count."""
    replica = Replica(house.bench)
    for _ in range(3):
        await replica.note(succeeded())
    assert await replica.calls() == (0, 0)
    await replica.flush()
    assert await replica.calls() == (3, 3)
    await replica.flush()
    assert await replica.calls() == (3, 3)


async def test_a_failure_and_the_success_after_it_are_noted_at_once(house: House) -> None:
    """Breakers and cooldowns rest on them; what waited before takes no failure back."""
    replica = Replica(house.bench)
    await replica.note(succeeded())
    await replica.note(failed())
    assert (await replica.stored())[1].failures_in_row == 1
    await replica.flush()
    assert (await replica.stored())[1].failures_in_row == 1, "the success came before"
    assert await replica.calls() == (2, 2)
    await replica.note(succeeded())
    assert (await replica.stored())[1].failures_in_row == 0
    assert await replica.calls() == (3, 3)


async def test_those_that_wait_count_in_the_share_that_opens_a_breaker(house: House) -> None:
    """Eleven failures of forty calls, four in a row at most, are no half of them, wherever the others stand."""
    replica = Replica(house.bench)
    await replica.note(*[succeeded()] * 29)
    for _ in range(3):
        await replica.note(*[failed()] * 4)
        await replica.note(Outcome(BIG, "k1", None, timedelta(seconds=1)))
    assert await replica.calls() == (15, 15)
    assert await house.priorities() == []
    await replica.flush()
    assert await replica.calls() == (44, 44)


async def test_a_provider_of_which_a_model_answered_a_moment_ago_is_not_out(house: House) -> None:
    """Two models fail, the success of the third waits: the provider's breaker stays closed."""
    replica = Replica(house.bench)
    await replica.note(succeeded(SMALL))
    for _ in range(5):
        await replica.note(failed(BIG), failed(MID))
    out = {subject for subject, _, _ in await house.priorities()}
    assert out == {"providers/acme/models/big", "providers/acme/models/mid"}


async def test_every_replica_counts(house: House) -> None:
    """Each adds what it saw to what is stored by then."""
    replicas = [Replica(house.bench) for _ in range(3)]
    for replica in replicas * 2:
        await replica.note(succeeded())
    for replica in replicas:
        await replica.flush()
    assert await replicas[0].calls() == (6, 6)


async def test_no_more_wait_than_may(house: House) -> None:
    """What comes then is noted at once, and with nothing to wait for all is."""
    replica = Replica(house.bench, OUTCOMES_TOGETHER="2")
    for _ in range(5):
        await replica.note(succeeded())
    assert await replica.calls() == (3, 3)
    await replica.flush()
    assert await replica.calls() == (5, 5)
    await Replica(house.bench, OUTCOME_DELAY="0s").note(succeeded())
    assert await replica.calls() == (6, 6)


async def test_a_settlement_that_is_undone_leaves_nothing_to_note(house: House) -> None:
    """It did not happen."""
    replica = Replica(house.bench)

    async def work(tx: Transaction) -> None:
        await availability.note(replica.host, tx, replica.known, "", [succeeded()])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await replica.host.db.write(work)
    await replica.flush()
    assert await replica.calls() == (0, 0)


async def test_what_a_locked_store_did_not_take_is_noted_later(tmp_path: Path) -> None:
    """It waits again; who only looks is shown what is stored."""
    quick = {**environment(tmp_path), "TOOLOO_BUSY_TIMEOUT": "50ms"}
    async with testing.running("provider", build, tmp_path / "var", settings=quick) as bench:
        await _locked(Replica(bench))


async def _locked(replica: Replica) -> None:
    await replica.note(succeeded())
    with closing(sqlite3.connect(replica.host.db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Refusal):
            await replica.flush()
        await noting.current(replica.host, replica.known)
        assert await replica.calls() == (0, 0)
        other.execute("ROLLBACK")
    await replica.flush()
    assert await replica.calls() == (1, 1)


async def test_what_was_taken_and_then_refused_waits_again(house: House) -> None:
    """In its place before what came since."""
    replica = Replica(house.bench)
    await replica.note(succeeded())
    known = replica.known.look

    async def full(tx: Transaction) -> None:
        raise errors.exhausted("disk", "it is full")

    object.__setattr__(replica.known, "look", full)
    with pytest.raises(Refusal):
        await replica.flush()
    object.__setattr__(replica.known, "look", known)
    await replica.note(succeeded())
    await replica.flush()
    assert await replica.calls() == (2, 2)


async def test_models_and_keys_that_are_gone_are_noted_no_more(house: House) -> None:
    """As when they are deleted before a settlement."""
    replica = Replica(house.bench)
    await replica.note(succeeded(), succeeded(GIFT, "k1"))
    object.__setattr__(replica.known, "keys_of", lambda provider_id: ())
    await replica.flush()
    assert await replica.calls() == (1, 0)


async def test_a_service_that_is_stopped_notes_what_waits(tmp_path: Path) -> None:
    """Three answers, a stop, a start: all three are there."""
    async with desk_on(tmp_path, outcome_delay="1h") as desk:
        for _ in range(3):
            await desk.ask()
        await desk.restart()
        async with asyncio.timeout(10):
            (learned,) = await desk.estimates()
        assert learned.calls == 3


class _UndoneError(Exception):
    """Ends a transaction of which only what it saw is wanted."""


async def _seen_in(bench: testing.Bench, work: Callable[[Transaction], Awaitable[object]]) -> object:
    """What the work gives in a transaction that leaves nothing behind."""
    found: list[object] = []

    async def undone(tx: Transaction) -> None:
        found.append(await work(tx))
        raise _UndoneError

    with pytest.raises(_UndoneError):
        await bench.host.db.write(undone)
    return found[0]


def test_together_they_are_what_they_are_one_by_one(tmp_path: Path) -> None:
    """Averages, buckets and what was put away of them, over the ends of buckets and whole windows; and what was learned."""

    async def sights(known: Known, tx: Transaction, turns: Sequence[Sequence[Sight]]) -> object:
        for turn in turns:
            await seeing.model(tx, known, BIG, turn)
            await seeing.key(tx, known, "acme", "k1", turn)
        buckets = await availability_store.buckets(tx, known.grain, 0)
        return await store.model_rows(tx), await availability_store.seen_of_keys(tx, known.grain), buckets

    async def answers(known: Known, tx: Transaction, turns: Sequence[Sequence[Answer]]) -> object:
        for turn in turns:
            await learning.observe(tx, known, turn)
        return [tuple(row) for row in await tx.fetch_all("SELECT * FROM estimate ORDER BY provider_id, model, user_id")]

    with asyncio.Runner() as runner, ExitStack() as stack:
        service = testing.running("provider", build, tmp_path / "var", settings=environment(tmp_path))
        bench = runner.run(service.__aenter__())
        stack.callback(lambda: runner.run(service.__aexit__(None, None, None)))
        known = Replica(bench).known

        @given(SUCCESSES)
        def see(steps: list[tuple[int, int]]) -> None:
            seen, moment = [], START
            for seconds, latency in steps:
                moment += timedelta(seconds=seconds)
                seen.append(Sight(Outcome(BIG, "k1", None, timedelta(milliseconds=latency), None, 50), moment, waited=True))
            both = [_seen_in(bench, partial(sights, known, turns=turns)) for turns in ([seen], [[sight] for sight in seen])]
            assert runner.run(both[0]) == runner.run(both[1])

        @given(ANSWERS)
        def learn(given: list[Answer]) -> None:
            both = [_seen_in(bench, partial(answers, known, turns=turns)) for turns in ([given], [[answer] for answer in given])]
            assert runner.run(both[0]) == runner.run(both[1])

        see()
        learn()
