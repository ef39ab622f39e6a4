"""Order of keys: shares by weight, the same everywhere, and a key that comes or goes moves no other's calls."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.provider.keys import Key, hint_of, ordered

KEYS = st.lists(
    st.builds(Key, st.text("abcdef", min_size=1, max_size=4), st.integers(0, 5), st.just("s")), unique_by=lambda key: key.key_id
)


@given(keys=KEYS, seed=st.text(max_size=8), data=st.data())
def test_the_order_hangs_on_seed_and_keys_alone(keys: list[Key], seed: str, data: st.DataObject) -> None:
    """Not on the order in which the store gave them; reserves come last; without one key the others keep their order."""
    order = ordered(keys, seed)
    assert order == ordered(data.draw(st.permutations(keys)), seed)
    weights = [key.weight > 0 for key in order]
    assert weights == sorted(weights, reverse=True)
    if keys:
        gone = data.draw(st.sampled_from(keys))
        assert ordered([key for key in keys if key != gone], seed) == tuple(key for key in order if key != gone)


def test_shares_follow_the_weights() -> None:
    """Over 20,000 seeds within two per cent."""
    keys = [Key("a", 1, ""), Key("b", 2, ""), Key("c", 5, ""), Key("d", 0, "")]
    firsts = Counter(ordered(keys, str(seed))[0].key_id for seed in range(20_000))
    assert firsts["d"] == 0
    for name, weight in (("a", 1), ("b", 2), ("c", 5)):
        assert abs(firsts[name] / 20_000 - weight / 8) < 0.02, firsts


def test_a_hint_never_tells_a_short_key() -> None:
    """Four of at least sixteen characters."""
    assert (hint_of("0123456789abcdef"), hint_of("0123456789abcde"), hint_of("")) == ("cdef", "", "")
