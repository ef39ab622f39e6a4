"""Estimates of output tokens: they cover the share they should whatever the distribution, follow changes, and know users apart."""

import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import estimating, sizes
from services.provider.estimating import Learned, Tuning

TUNING = Tuning(quantile=0.8)
NOBODY = Learned()
SHAPES: dict[str, Callable[[random.Random], int]] = {
    "log-normal": lambda chance: int(chance.lognormvariate(6, 0.8)) + 1,
    "two kinds": lambda chance: chance.choice([20, 2000]),
    "always the same": lambda chance: 300,
    "uniform": lambda chance: chance.randrange(1, 4000),
    "pareto": lambda chance: int(50 * chance.paretovariate(1.2)),
}


def learn(values: list[int], seen: Learned = NOBODY) -> tuple[Learned, int]:
    """What is known after these, and how many of them stayed within what was estimated before each."""
    covered = 0
    for value in values:
        estimate = estimating.output_tokens(seen, NOBODY, TUNING)
        covered += value <= estimate
        seen = estimating.observe(seen, value, estimate, TUNING)
    return seen, covered


@pytest.mark.parametrize("shape", SHAPES)
def test_it_covers_the_share_it_should(shape: str) -> None:
    """Of 4,000 calls of any shape at least 76 % stay within the estimate; skewed shapes are not covered by the worst case."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    values = [SHAPES[shape](chance) for _ in range(4000)]
    seen, covered = learn(values)
    assert covered / len(values) >= 0.76
    assert 0 < estimating.output_tokens(seen, NOBODY, TUNING) <= max(values) * 2
    if shape in ("log-normal", "pareto"):
        assert covered / len(values) <= 0.84
        assert estimating.output_tokens(seen, NOBODY, TUNING) < max(values) / 2


def test_it_follows_a_change() -> None:
    """Answers that become ten times as long are covered again after some hundred calls."""
    seen, _ = learn([100] * 300)
    seen, _ = learn([1000] * 100, seen)
    _, covered = learn([1000] * 100, seen)
    assert covered >= 60


def test_without_calls_it_is_the_prior_and_bounded_by_what_the_call_may_give() -> None:
    """A model nobody has called is assumed to give about the default, or the call's own bound."""
    estimate = estimating.output_tokens(NOBODY, NOBODY, TUNING)
    assert TUNING.prior_tokens <= estimate <= 3 * TUNING.prior_tokens
    assert estimating.output_tokens(NOBODY, NOBODY, TUNING, 16) == 16
    assert estimating.output_tokens(NOBODY, NOBODY, TUNING, 10**6) == estimate


def test_a_user_with_long_answers_has_longer_estimates() -> None:
    """Few calls of theirs move it little, many nearly all the way."""
    everybody, _ = learn([100] * 500)
    few, _ = learn([3000] * 2)
    many, _ = learn([3000] * 200)
    steps = [estimating.output_tokens(everybody, user, TUNING) for user in (NOBODY, few, many)]
    assert steps == sorted(steps)
    assert steps[2] > 5 * steps[0]


def test_its_error_is_watched() -> None:
    """The ratio of what came to what was assumed, and the share that was covered."""
    seen, _ = learn([500] * 400)
    assert seen.calls == 400
    assert seen.ratio == pytest.approx(1, abs=0.2)
    assert 0.6 <= seen.covered <= 1
    assert estimating.typical(seen) == pytest.approx(500, rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**8)), max_size=60), st.integers(0, 10**8))
def test_it_is_never_absurd(calls: list[tuple[int, int]], most: int) -> None:
    """Whatever comes, an estimate is a whole number from one to a hundred million and no figure leaves the numbers."""
    seen = NOBODY
    for actual, estimate in calls:
        seen = estimating.observe(seen, actual, estimate, TUNING)
    assert 1 <= estimating.output_tokens(seen, seen, TUNING, most) <= (most or 10**8)
    assert all(math.isfinite(value) for value in (seen.mean, seen.variance, seen.z or 0, seen.ratio, seen.covered))


def shown(answers: Iterable[tuple[int, int]]) -> Learned:
    """What is known after answers of so many tokens in so many characters."""
    seen = NOBODY
    for output, characters in answers:
        seen = estimating.observe(seen, output, output, TUNING, characters)
    return seen


def test_tokens_of_an_answer_under_way_are_counted_as_the_model_shows_them() -> None:
    """Nothing is known at first; then it is what the provider counted, also after a change, and one odd answer hardly counts."""
    assert estimating.characters_per_token(NOBODY, TUNING) == sizes.CHARACTERS_PER_TOKEN
    assert estimating.characters_per_token(shown([(14, 0)] * 50), TUNING) == sizes.CHARACTERS_PER_TOKEN
    prose = [(14, 59)] * 300
    assert round(59 / estimating.characters_per_token(shown(prose), TUNING)) == 14
    assert round(59 / estimating.characters_per_token(shown([*prose, (1400, 59)]), TUNING)) == 14
    assert estimating.characters_per_token(shown([*prose, *[(40, 60)] * 300]), TUNING) == pytest.approx(1.5, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=30))
def test_a_token_is_never_absurdly_many_characters(answers: list[tuple[int, int]]) -> None:
    """Whatever providers tell: it is divided by."""
    assert 0.1 <= estimating.characters_per_token(shown(answers), TUNING) <= 20
