"""Mastery: it moves the right way, stays bounded, grows surer with evidence and less sure with time."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learning import mastery
from services.learning.curriculum import Difficulty
from services.learning.mastery import Belief, Standing

beliefs = st.builds(Belief, st.floats(-mastery.MAX_MEAN, mastery.MAX_MEAN), st.floats(1e-6, 1.0))
standings = st.builds(Standing, beliefs, beliefs, beliefs)
difficulties = st.sampled_from(Difficulty)
scores = st.floats(0, 1)
rounds = st.lists(st.tuples(difficulties, scores), max_size=200)


def played(standing: Standing, log: list[tuple[Difficulty, float]]) -> Standing:
    """The standing after a log of rounds."""
    for difficulty, score in log:
        standing = mastery.observe(standing, difficulty, score)
    return standing


@given(standings, difficulties, scores)
def test_it_moves_towards_the_score(standing: Standing, difficulty: Difficulty, score: float) -> None:
    """Better than expected never lowers the level, worse never raises it; the skill's difficulty goes the other way."""
    expected = mastery.expected_score(standing, difficulty)
    after = mastery.observe(standing, difficulty, score)
    sign = 1 if score >= expected else -1
    assert sign * (after.student.mean - standing.student.mean) >= 0
    assert sign * (after.skill.mean - standing.skill.mean) >= 0
    assert sign * (after.difficulty.mean - standing.difficulty.mean) <= 0


@given(difficulties)
def test_a_full_score_raises_a_newcomer_and_none_lowers(difficulty: Difficulty) -> None:
    """The movement is real, not only not wrong."""
    start = Standing()
    assert mastery.observe(start, difficulty, 1.0).mean > start.mean + 0.1
    assert mastery.observe(start, difficulty, 0.0).mean < start.mean - 0.1


@given(standings, difficulties, scores, scores)
def test_a_better_score_never_gives_less(standing: Standing, difficulty: Difficulty, one: float, other: float) -> None:
    """The level after a round is monotone in its score."""
    low, high = sorted((one, other))
    assert mastery.observe(standing, difficulty, low).mean <= mastery.observe(standing, difficulty, high).mean


@given(rounds)
def test_it_stays_bounded(log: list[tuple[Difficulty, float]]) -> None:
    """Whatever the log, means and levels keep their bounds and variances stay positive."""
    after = played(Standing(), log)
    for belief in (after.student, after.skill, after.difficulty):
        assert abs(belief.mean) <= mastery.MAX_MEAN
        assert 0 < belief.variance <= 1.0
    shown = mastery.level(after)
    assert 0 < shown.low <= shown.level <= shown.high < 1


@given(standings, difficulties, scores)
def test_no_round_leaves_the_bounds(standing: Standing, difficulty: Difficulty, score: float) -> None:
    """From any standing, also one at the border, a round ends inside the bounds."""
    after = mastery.observe(standing, difficulty, score)
    assert all(abs(belief.mean) <= mastery.MAX_MEAN for belief in (after.student, after.skill, after.difficulty))


def test_the_border_holds() -> None:
    """A full score at the highest mean does not raise it further."""
    standing = Standing(Belief(mastery.MAX_MEAN, 1.0), Belief(-mastery.MAX_MEAN, 1.0))
    assert mastery.observe(standing, Difficulty.MEDIUM, 1.0).student.mean == mastery.MAX_MEAN


@given(standings, difficulties, scores)
def test_evidence_shrinks_uncertainty(standing: Standing, difficulty: Difficulty, score: float) -> None:
    """Every round makes each belief surer, whatever its score."""
    after = mastery.observe(standing, difficulty, score)
    assert after.student.variance <= standing.student.variance
    assert after.skill.variance <= standing.skill.variance
    assert after.difficulty.variance <= standing.difficulty.variance
    assert mastery.level(after).deviation <= mastery.level(standing).deviation


def test_ten_rounds_make_a_newcomer_much_surer() -> None:
    """The shrinking is real: ten rounds take away a third of the deviation at least."""
    after = played(Standing(), [(Difficulty.MEDIUM, 0.7)] * 10)
    assert mastery.level(after).deviation < 2 / 3 * mastery.level(Standing()).deviation


@given(beliefs, st.floats(0, 5000), st.floats(0, 5000))
def test_time_grows_uncertainty(belief: Belief, one: float, other: float) -> None:
    """The longer without evidence, the less sure, never beyond what was known before any; the mean stands."""
    early, late = sorted((one, other))
    for aged, prior in ((mastery.aged_student, mastery.STUDENT_PRIOR), (mastery.aged_skill, mastery.SKILL_PRIOR)):
        before, after = aged(belief, timedelta(days=early)), aged(belief, timedelta(days=late))
        assert belief.variance <= before.variance <= after.variance <= prior.variance
        assert after.mean == belief.mean


def test_a_clock_that_went_back_ages_nothing() -> None:
    """A negative time is no time."""
    belief = Belief(1.0, 0.3)
    assert mastery.aged_skill(belief, timedelta(days=-3)) == belief


@given(rounds)
def test_the_same_log_gives_the_same_standing(log: list[tuple[Difficulty, float]]) -> None:
    """Replaying a review log gives the same state to the last bit."""
    assert played(Standing(), log) == played(Standing(), log)


@pytest.mark.parametrize("ability", [-1.5, 0.0, 1.5])
def test_it_finds_a_constant_ability(ability: float) -> None:
    """Who always scores as an ability would, is soon expected to: the level comes within 0.05 of the truth."""
    truth = mastery.logistic(ability)
    after = played(Standing(), [(Difficulty.MEDIUM, truth)] * 60)
    assert mastery.level(after).level == pytest.approx(truth, abs=0.05)


@given(standings)
def test_harder_exercises_promise_less(standing: Standing) -> None:
    """The expected score falls with difficulty."""
    easy, medium, hard = (mastery.expected_score(standing, difficulty) for difficulty in Difficulty)
    assert easy > medium > hard


def test_a_domain_is_surer_than_its_skills_and_between_them() -> None:
    """The mean of many uncertain skills is less uncertain than each, and lies between the extremes."""
    low, high = Belief(-1.0, 0.5), Belief(1.0, 0.5)
    student = Belief(0.0, 0.2)
    whole = mastery.domain_level(student, [(low, mastery.DIFFICULTY_PRIOR), (high, mastery.DIFFICULTY_PRIOR)])
    one = mastery.level(Standing(student, high))
    assert whole.level == pytest.approx(0.5)
    assert whole.deviation < one.deviation
    assert whole.deviation == pytest.approx(math.sqrt(0.2 + 2 * 0.75 / 4))
