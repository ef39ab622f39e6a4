"""Who may answer a query: the names that a caller may use, and what is left of a plan once somebody can be paid for."""

import itertools

from services.provider.fallback import Candidate, Cause, Plan, Target
from services.provider.flows.opening import best_first, from_there, in_order, named
from services.provider.options import Exclusion, Option, Ranked


def _ranked(provider_id: str, model: str, cost: int = 1, exclusion: Exclusion | None = None) -> Ranked:
    return Ranked(Option(provider_id, model, cost, 1000, 0.5, 100.0, 1.0), exclusion=exclusion)


def _candidate(model: str) -> Candidate:
    return Candidate(Target("acme", model))


def test_the_best_is_the_same_whatever_the_order() -> None:
    """Of the equally good the cheapest, one without a price last, and then by name: what routing saved is measured against it."""
    unknown = Option("acme", "unknown", None, 1000, 0.9, 100.0, 1.0)
    dear, cheap, same = (Option("acme", name, cost, 1000, 0.9, 100.0, 1.0) for name, cost in (("a", 9), ("b", 3), ("c", 3)))
    worse = Option("acme", "free", 0, 1000, 0.8, 100.0, 1.0)
    for order in itertools.permutations((unknown, dear, cheap, same, worse)):
        assert sorted(order, key=best_first) == [cheap, same, dear, unknown, worse]


A, B, C, D = map(_candidate, "abcd")


def test_a_name_stands_for_models() -> None:
    """A model of any provider, one of a provider's, or with "auto" and nothing any; a name's slash belongs to it."""
    ranked = [_ranked("acme", "big"), _ranked("brim", "big"), _ranked("hub", "meta/llama"), _ranked("meta", "llama")]
    assert [item.option.provider_id for item in named(ranked, "big")] == ["acme", "brim"]
    assert [item.option.provider_id for item in named(ranked, "brim/big")] == ["brim"]
    assert [item.option.provider_id for item in named(ranked, "meta/llama")] == ["hub", "meta"]
    assert [item.option.provider_id for item in named(ranked, "hub/meta/llama")] == ["hub"]
    assert list(named(ranked, "auto")) == list(named(ranked, "")) == ranked
    assert not named(ranked, "ig")


def test_what_budgets_keep_out_is_asked_last() -> None:
    """By rank those that fit, then those that may, the cheapest first; what is too long only a named model may say."""
    ranked = [
        _ranked("acme", "in", 9),
        _ranked("acme", "also in", 1),
        _ranked("acme", "dear", 7, Exclusion.BUDGET_SPENT),
        _ranked("acme", "away", 1, Exclusion.UNAVAILABLE),
        _ranked("acme", "cheap", 3, Exclusion.BUDGET_SPENT),
        _ranked("acme", "narrow", 1, Exclusion.CONTEXT_WINDOW),
    ]
    assert [item.option.model for item in in_order(ranked, by_name=False)] == ["in", "also in", "cheap", "dear"]
    assert [item.option.model for item in in_order(ranked, by_name=True)] == ["in", "also in", "narrow", "cheap", "dear"]


def test_a_plan_from_the_first_that_can_be_paid_for() -> None:
    """Those before it are not tried later either; chains for what is too long or refused stay as they are."""
    plan = Plan((A, B, C), {Cause.GENERAL: (B, C, D), Cause.CONTEXT_WINDOW: (A, D)})
    left = from_there(plan, (C, D))
    assert left.course() == (C, D)
    assert left.chains[Cause.CONTEXT_WINDOW] == (A, D)


def test_without_a_chain_the_others_follow_by_rank() -> None:
    """The plan that is left begins with the one that is paid for."""
    assert from_there(Plan((A, B, C)), (B, C)).course() == (B, C)
