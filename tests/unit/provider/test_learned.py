"""Learned quality: priors where nothing was seen, means where much was, kinds of prompts told apart, the same every time."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.provider import features, learned
from services.provider.features import Features
from services.provider.learned import Belief, Outcome, Tuning

BIG, SMALL, NEW = ("a", "big"), ("a", "small"), ("b", "new")
PRIORS = {BIG: 0.8, SMALL: 0.6, NEW: 0.7}
TUNING = Tuning()


def prompt(kind: str, number: int) -> Features:
    """A prompt of a kind: its own words, and a direction of its own with noise."""
    generator = np.random.default_rng(number)
    centre = np.zeros(32, np.float32)
    centre[0 if kind == "code" else 1] = 1.0
    vector = centre + generator.normal(scale=0.1, size=32)
    text = f"write a python function {number}" if kind == "code" else f"tell me of the roman republic {number}"
    return features.read(text, (vector / np.linalg.norm(vector)).astype(np.float32))


def history(count: int, seed: int = 1) -> tuple[list[Features], list[Outcome]]:
    """Each model answers some prompts: on code the big one is right in 9 of 10, the small one in 3; on history both in 7."""
    chance = random.Random(seed)
    prompts, outcomes = [], []
    for number in range(count):
        kind, model = chance.choice(["code", "history"]), chance.choice([BIG, SMALL])
        rate = 0.7 if kind == "history" else 0.9 if model == BIG else 0.3
        prompts.append(prompt(kind, number))
        outcomes.append(Outcome(model, number, float(chance.random() < rate)))
    return prompts, outcomes


def test_without_outcomes_priors_are_believed() -> None:
    """Exactly, with the deviation of the prior."""
    for predictor in (learned.without_outcomes(TUNING), learned.fit([], [], PRIORS, TUNING)):
        beliefs = predictor.believe(prompt("code", 1), PRIORS)
        assert {model: belief.mean for model, belief in beliefs.items()} == PRIORS
        assert {belief.evidence for belief in beliefs.values()} == {0.0}


def test_kinds_of_prompts_are_told_apart() -> None:
    """On code the small model is far behind, on history it is not; a model never seen keeps its prior."""
    prompts, outcomes = history(600)
    predictor = learned.fit(prompts, outcomes, PRIORS, TUNING)
    code, tales = (predictor.believe(prompt(kind, 10_000), PRIORS) for kind in ("code", "history"))
    assert code[BIG].mean - code[SMALL].mean > 0.35
    assert abs(tales[BIG].mean - tales[SMALL].mean) < 0.2
    assert code[NEW].mean == PRIORS[NEW]
    assert code[BIG].deviation < code[NEW].deviation


def test_a_model_that_got_the_hard_prompts_does_not_look_bad() -> None:
    """Two equal models; one answered mostly hard prompts, the other mostly easy ones: asked about the same, they come out close."""
    chance = random.Random(5)
    prompts, outcomes = [], []
    for number in range(800):
        model = chance.choice([BIG, SMALL])
        hard = chance.random() < (0.8 if model == BIG else 0.2)
        prompts.append(prompt("code" if hard else "history", number))
        outcomes.append(Outcome(model, number, float(chance.random() < (0.3 if hard else 0.9))))
    equal = {BIG: 0.6, SMALL: 0.6}
    predictor = learned.fit(prompts, outcomes, equal, TUNING)
    beliefs = predictor.believe(prompt("code", 10_000), equal)
    apart = abs(float(predictor.means[0] - predictor.means[1]))
    assert apart > 0.25
    assert abs(beliefs[BIG].mean - beliefs[SMALL].mean) < apart / 2


def test_outcomes_without_a_prompt_move_the_mean() -> None:
    """As a Beta posterior does: the prior counts as ten scores."""
    general = [Outcome(SMALL, 0, 1.0) for _ in range(10)]
    belief = learned.fit([], [], PRIORS, TUNING, general).believe(prompt("code", 1), PRIORS)[SMALL]
    assert belief.mean == pytest.approx(0.8)
    assert belief.evidence == 10


def test_older_outcomes_count_less() -> None:
    """A weight of one half counts as half a score."""
    half = learned.fit([], [], PRIORS, TUNING, [Outcome(SMALL, 0, 1.0, 0.5)] * 20)
    assert half.believe(prompt("code", 1), PRIORS)[SMALL].mean == pytest.approx(0.8)


def test_another_embedding_falls_back_to_the_means() -> None:
    """Vectors of another length cannot be compared; what is known of the model stays."""
    prompts, outcomes = history(100)
    predictor = learned.fit(prompts, outcomes, PRIORS, TUNING)
    other = features.read("write a python function", np.ones(7, np.float32))
    assert predictor.believe(other, PRIORS)[BIG].mean == pytest.approx(predictor.means[predictor.models.index(BIG)])


@given(st.integers(0, 60), st.integers(0, 2**16))
@hypothesis_settings(max_examples=25)
def test_beliefs_are_probabilities_and_the_same_every_time(count: int, seed: int) -> None:
    """For any history, also of one outcome; two fits agree to the last bit."""
    prompts, outcomes = history(count, seed)
    one, other = (learned.fit(prompts, outcomes, PRIORS, TUNING).believe(prompt("code", 9), PRIORS) for _ in range(2))
    assert one == other
    assert set(one) == set(PRIORS)
    assert all(0 <= belief.mean <= 1 and belief.deviation > 0 for belief in one.values())


def test_a_perfect_score_more_never_makes_a_model_look_worse() -> None:
    """On the prompt that was scored, whatever came before."""
    prompts, outcomes = history(80)
    place = outcomes[0].prompt
    before = learned.fit(prompts, outcomes, PRIORS, replace(TUNING, folds=2)).believe(prompts[place], PRIORS)
    after = learned.fit(prompts, [*outcomes, Outcome(SMALL, place, 1.0)], PRIORS, TUNING).believe(prompts[place], PRIORS)
    assert after[SMALL].mean >= before[SMALL].mean


def test_exploring_is_decided_by_its_chance() -> None:
    """The same chance, the same draw; none without exploration; over many the mean and deviation come out."""
    belief = Belief(0.5, 0.1, 3)
    assert belief.draw("x", 0.5) == belief.draw("x", 0.5) != belief.draw("y", 0.5)
    assert belief.draw("x", 0) == 0.5
    draws = [belief.draw(f"chance {number}", 1.0) for number in range(4000)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.01)
    assert np.std(draws) == pytest.approx(0.1, rel=0.1)
