"""What can be used now: resting keys, models and providers put together."""

from datetime import UTC, datetime, timedelta

from services.provider import fallback
from services.provider.availability import Availability, Cause, Condition, Drain, Priority, Resource
from services.provider.breaker import Breaker, Rule, Trial
from services.provider.cooldown import Cooldown
from services.provider.failure import FailureKind
from services.provider.fallback import Candidate, Plan, Target
from services.provider.health import State

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BIG, SMALL, OTHER = Target("acme", "big"), Target("acme", "small"), Target("brim", "gift")
OPEN = Condition(Breaker(NOW - MINUTE, NOW + MINUTE, 1), "too many calls failed")
HALF_OPEN = Condition(Breaker(NOW - MINUTE, NOW, 1), "too many calls failed")


def resting(minutes: float) -> Condition:
    """A cooldown that ends in so many minutes."""
    return Condition(cooldown=Cooldown(FailureKind.RATE_LIMITED, "slow down", NOW - MINUTE, NOW + minutes * MINUTE))


def seen(conditions: dict[Resource, Condition]) -> Availability:
    """A snapshot."""
    return Availability(NOW, Rule(), conditions)


def test_a_model_is_out_with_its_provider_and_with_its_last_key() -> None:
    """Its own breaker, the provider's, or all keys; one free key is enough."""
    keys = ("k1", "k2")
    assert seen({}).out(BIG, keys) is None
    for resource in (Resource("acme"), Resource("acme", "big")):
        assert seen({resource: OPEN}).out(BIG, keys) is not None
    one = {Resource("acme", "", "k1"): resting(5)}
    assert seen(one).out(BIG, keys) is None
    both = seen({**one, Resource("acme", "big", "k2"): resting(1)})
    out = both.out(BIG, keys)
    assert out is not None
    assert (out.resource, out.until) == (Resource("acme", "big", "k2"), NOW + MINUTE)
    # the second key is limited for that model only
    assert both.out(SMALL, keys) is None


def test_a_key_that_rests_for_two_reasons_comes_back_after_the_later() -> None:
    """The provider's 402 and the model's 429."""
    both = seen({Resource("acme", "", "k1"): resting(5), Resource("acme", "big", "k1"): resting(1)})
    out = both.key_out(BIG, "k1")
    assert out is not None
    assert out.until == NOW + 5 * MINUTE


def test_usable_candidates_lose_resting_keys_and_trials_that_nobody_claims() -> None:
    """On trial is only the one to begin with; one whose trial is on its way is out."""
    candidates = [Candidate(BIG, ("k1", "k2")), Candidate(SMALL, ("k1",)), Candidate(OTHER)]
    limited = seen({Resource("acme", "", "k1"): resting(5)})
    assert limited.usable(candidates) == (Candidate(BIG, ("k2",)), Candidate(OTHER))
    first = seen({Resource("acme", "big"): HALF_OPEN, Resource("brim", "gift"): HALF_OPEN})
    assert first.usable(candidates) == (candidates[0], candidates[1])
    tried = Condition(Breaker(NOW - MINUTE, NOW, 1, trials=(Trial("call", NOW + MINUTE),)))
    assert seen({Resource("acme", "big"): tried}).usable(candidates) == (candidates[1], candidates[2])
    out = seen({Resource("acme", "big"): tried}).out(BIG)
    assert out is not None
    assert (out.cause, out.until) == (Cause.TRIAL, NOW + MINUTE)


def test_an_operators_word_comes_first_and_ends_when_they_said() -> None:
    """Drained beside an open breaker: the operator is the cause; afterwards the breaker is."""
    until = NOW + timedelta(seconds=10)
    drained = Condition(OPEN.breaker, OPEN.why, drain=Drain("upgrade", NOW, until))
    place = Resource("acme", "big")
    now, then = seen({place: drained}), Availability(until, Rule(), {place: drained})
    assert [(out.cause, out.until) for out in (now.resource_out(place), then.resource_out(place)) if out] == [
        (Cause.OPERATOR, until), (Cause.BREAKER, NOW + MINUTE),
    ]  # fmt: skip
    forever = seen({place: Condition(drain=Drain("gone", NOW))}).resource_out(place)
    assert forever is not None
    assert "until somebody acts" in forever.text


def test_what_a_provider_amounts_to() -> None:
    """Some models out: degraded; all of them, itself or all its keys: unavailable; a trial: degraded."""
    models, keys = ["big", "small"], ("k1",)
    trouble = {
        None: {},
        State.DEGRADED: {Resource("acme", "big"): OPEN},
        State.UNAVAILABLE: {Resource("acme", "big"): OPEN, Resource("acme", "small"): resting(1)},
    }
    for state, conditions in trouble.items():
        found = seen(conditions).trouble("acme", models, keys)
        assert (found[0] if found else None) is state
    for resource in (Resource("acme"), Resource("acme", "", "k1")):
        found = seen({resource: resting(1)}).trouble("acme", models, keys)
        assert found is not None
        assert found[0] is State.UNAVAILABLE
    on_trial = seen({Resource("acme", "big"): HALF_OPEN}).trouble("acme", models, keys)
    assert on_trial == (State.DEGRADED, "providers/acme/models/big is on trial")


def test_the_place_in_the_order() -> None:
    """Out, on trial, or by score."""
    conditions = {Resource("acme", "big"): OPEN, Resource("acme", "small"): HALF_OPEN, Resource("acme", "", "k1"): resting(1)}
    found = [
        seen(conditions).priority(resource, ())
        for resource in (Resource("acme", "big"), Resource("acme", "small"), Resource("acme"))
    ]
    assert found == [Priority.OUT, Priority.TRIAL, Priority.NORMAL]
    assert seen(conditions).priority(Resource("acme"), ("k1",)) is Priority.OUT


def test_the_first_to_come_back_is_named() -> None:
    """For the refusal that says when to try again."""
    conditions = {
        Resource("acme", "big"): resting(9),
        Resource("brim", "gift"): resting(2),
        Resource("acme", "small"): Condition(drain=Drain("x", NOW)),
    }
    out = seen(conditions).back_first([Candidate(BIG), Candidate(SMALL), Candidate(OTHER)])
    assert out is not None
    assert out.resource == Resource("brim", "gift")


def test_a_plan_keeps_its_chains_without_what_is_out() -> None:
    """Chains of every cause, not only the general one; whoever is on trial is no fallback, for nobody claims that trial."""
    third = Target("core", "wide")
    whole = Plan(
        (Candidate(BIG), Candidate(SMALL)),
        {fallback.Cause.CONTEXT_WINDOW: (Candidate(third), Candidate(OTHER)), fallback.Cause.GENERAL: (Candidate(OTHER),)},
    )
    assert seen({}).narrowed(whole) == whole
    conditions = {Resource("acme", "big"): resting(1), Resource("brim", "gift"): HALF_OPEN}
    assert seen(conditions).narrowed(whole) == Plan(
        (Candidate(SMALL),), {fallback.Cause.CONTEXT_WINDOW: (Candidate(third),), fallback.Cause.GENERAL: ()}
    )
