"""Selection: due before new before refresh, the weakest skill first, nothing twice while something is left."""

from datetime import UTC, datetime, timedelta

import pytest
from fsrs import State
from hypothesis import given
from hypothesis import strategies as st

from services.learning import selection
from services.learning.curriculum import Difficulty, Domain, Exercise, Skill
from services.learning.mastery import Belief, Standing
from services.learning.memory import Memory, retrievability
from services.learning.selection import Candidate
from services.learning.training import Reason

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def exercise(skill: str, name: str, difficulty: Difficulty = Difficulty.MEDIUM) -> Exercise:
    """An exercise."""
    return Exercise(f"d.{skill}.{name}", "d", skill, "prompt", "rubric", difficulty)


def memory(due_in: float, stability: float = 10.0, age: float = 5.0) -> Memory:
    """A memory that is due in so many days and was reviewed `age` days ago."""
    return Memory(State.Review, None, stability, 5.0, NOW + timedelta(days=due_in), NOW - timedelta(days=age), reviews=1, lapses=0)


def standing_of(skill: str) -> Standing:
    """Skill "weak" is weak, every other one average."""
    return Standing(skill=Belief(-2.0 if skill == "weak" else 0.0, 0.5))


memories = st.builds(memory, st.floats(-30, 30), st.floats(0.1, 100), st.floats(0, 60))
pools = st.lists(st.tuples(st.none() | memories, st.integers(0, 3), st.sampled_from(["weak", "strong"])), min_size=1, max_size=20)


@given(pools)
def test_the_order_of_reasons(parts: list[tuple[Memory | None, int, str]]) -> None:
    """Only the least used are taken; among those due beats new beats refresh, and the reason says so."""
    pool = [Candidate(exercise(skill, str(i)), held, uses) for i, (held, uses, skill) in enumerate(parts)]
    picked, reason = selection.pick(pool, standing_of, NOW)
    fewest = min(candidate.uses for candidate in pool)
    fresh = {candidate.exercise: candidate.memory for candidate in pool if candidate.uses == fewest}
    assert picked in fresh
    held = fresh[picked]
    some_due = any(known and known.due <= NOW for known in fresh.values())
    if reason is Reason.DUE:
        assert held is not None
        assert held.due <= NOW
    elif reason is Reason.WEAKEST_SKILL:
        assert held is None
        assert not some_due
        assert picked.skill == "weak" or all(new.skill != "weak" for new, known in fresh.items() if known is None)
    else:
        assert not some_due
        assert all(fresh.values())


@given(st.lists(memories, min_size=1, max_size=20))
def test_the_least_remembered_due_card_comes_first(held: list[Memory]) -> None:
    """Of several due cards the one least likely to be recalled is taken."""
    pool = [Candidate(exercise("s", str(i)), known, 0) for i, known in enumerate(held)]
    picked, reason = selection.pick(pool, standing_of, NOW)
    if reason is Reason.DUE:
        due = [known for known in held if known.due <= NOW]
        chosen = next(candidate.memory for candidate in pool if candidate.exercise == picked)
        assert chosen is not None
        assert retrievability(chosen, NOW) == min(retrievability(known, NOW) for known in due)


def test_a_new_exercise_fits_the_learner() -> None:
    """A weak learner gets the easy one, a strong learner the hard one."""
    pool = [Candidate(exercise("s", d.name, d), None, 0) for d in Difficulty]
    weak, _ = selection.pick(pool, lambda _: Standing(student=Belief(-1.0, 0.5)), NOW)
    strong, _ = selection.pick(pool, lambda _: Standing(student=Belief(2.5, 0.5)), NOW)
    assert weak.difficulty is Difficulty.EASY
    assert strong.difficulty is Difficulty.HARD


def test_nothing_to_pick_from() -> None:
    """An empty pool is a mistake of the caller, and said so."""
    with pytest.raises(ValueError, match="no exercise"):
        selection.pick([], standing_of, NOW)


def test_candidates_keep_cards_that_the_curriculum_dropped() -> None:
    """What a learner has a card of is asked again even when the curriculum no longer has it; an edited one is asked as edited."""
    kept, edited, gone = exercise("s", "kept"), exercise("s", "edited"), exercise("s", "gone")
    old = Exercise(edited.id, "d", "s", "the old prompt", "rubric", Difficulty.MEDIUM)
    domain = Domain("d", "D", (), (Skill("s", "S", (kept, edited)),))
    held = memory(1)
    pool = selection.candidates(domain, {old: held, gone: held}, ["d.s.kept", "d.s.kept"])
    assert pool == [Candidate(kept, None, 2), Candidate(edited, held, 0), Candidate(gone, held, 0)]
