"""Sharing by weight: shares are kept within binomial bounds, callers stay, a changed weight moves only whom it must."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from services.provider import sharing

OLD, NEW, NEXT = ("a", "old"), ("a", "new"), ("b", "next")
CALLERS = 20_000


def first(shares: dict[tuple[str, str], float], caller: str) -> tuple[str, str]:
    """Whom a caller gets."""
    places = sharing.order(shares, caller)
    return min(places, key=lambda key: places[key])


def test_a_canary_gets_its_share() -> None:
    """Within five standard deviations of the binomial distribution, for several weights; the seed names the callers."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    for share in (0.01, 0.05, 0.3):
        got = sum(first({OLD: 1 - share, NEW: share}, f"{seed}/{number}") == NEW for number in range(CALLERS))
        bound = 5 * math.sqrt(CALLERS * share * (1 - share))
        assert abs(got - CALLERS * share) <= bound, (share, got)


@given(st.text(), st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1, 100))
def test_a_heavier_weight_only_brings_callers(caller: str, old: float, new: float, factor: float) -> None:
    """Whoever has the canary keeps it when its weight grows; a third target takes callers but moves none between the two."""
    before = first({OLD: old, NEW: new}, caller)
    heavier = first({OLD: old, NEW: new * factor}, caller)
    assert heavier == NEW if before == NEW else True
    assert first({OLD: old, NEW: new, NEXT: factor}, caller) in (before, NEXT)


def test_a_target_without_weight_has_no_place() -> None:
    """It gets nobody."""
    assert set(sharing.order({OLD: 1.0, NEW: 0.0}, "ada")) == {OLD}


@given(st.text(), st.text())
def test_the_same_caller_always_gets_the_same(caller: str, other: str) -> None:
    """The caller and the weights decide, nothing else."""
    shares = {OLD: 1.0, NEW: 1.0, NEXT: 2.0}
    assert sharing.order(shares, caller) == sharing.order(dict(reversed(shares.items())), caller)
    if caller != other:
        assert sharing.order(shares, caller) != sharing.order(shares, other)
