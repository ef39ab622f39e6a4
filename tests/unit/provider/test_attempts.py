"""The course of a request: a stateful model over plans, failures and time; and what users of other gateways reported."""

from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.provider import attempts
from services.provider.attempts import FINAL, OF_KEY, SUCCESS, Attempt, GiveUp, Limits, State, Success, Try, Wait
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Cause, Plan, Target
from services.provider.retrying import RetryBudget, RetryPolicy

SECOND = timedelta(seconds=1)
MOVES_WITHIN_ONE = frozenset(FailureKind) - {FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY}
targets = st.builds(Target, st.sampled_from(["a", "b", "c"]), st.sampled_from(["m", "n"]))
candidates = st.builds(
    Candidate,
    targets,
    st.lists(st.sampled_from(["k1", "k2", "k3"]), unique=True, max_size=3).map(tuple) | st.just(("",)),
    st.sampled_from([0, 8, 32, 128]),
)
chains = st.lists(candidates, min_size=1, max_size=4).map(tuple)
plans = st.builds(Plan, st.lists(candidates, max_size=5).map(tuple), st.dictionaries(st.sampled_from(Cause), chains, max_size=3))
policies = st.builds(
    RetryPolicy,
    st.dictionaries(st.sampled_from(FailureKind), st.integers(0, 3)),
    st.timedeltas(timedelta(), 2 * SECOND),
    st.timedeltas(timedelta(), 8 * SECOND),
)
limits = st.builds(
    Limits,
    st.timedeltas(timedelta(), 120 * SECOND),
    st.timedeltas(SECOND, 60 * SECOND),
    st.timedeltas(SECOND, 60 * SECOND),
    st.timedeltas(timedelta(milliseconds=1), SECOND),
    st.integers(1, 12),
    st.integers(1, 6),
    policies,
)


class AttemptsModel(RuleBasedStateMachine):
    """A driver that does what the engine says while attempts end in every way."""

    @initialize(plan=plans, limits=limits, minimum=st.integers(0, 5))
    def start(self, plan: Plan, limits: Limits, minimum: int) -> None:
        """Some plan, some limits, a budget of so many retries for the whole run."""
        self.plan, self.limits = plan, limits
        self.state = attempts.begin(plan, limits)
        self.elapsed = timedelta()
        self.budget, self.allowed, self.granted = RetryBudget(0.0, float(minimum), SECOND), minimum, 0
        self.made: list[Attempt] = []
        self.ended: Failure | None = None

    def may_retry(self) -> bool:
        """The budget, with a count of what it gave."""
        given = self.budget.withdraw(0.0)
        self.granted += given
        return given

    @property
    def action(self) -> attempts.Action:
        """What the engine says now."""
        return attempts.next_action(self.state, self.elapsed)

    @precondition(lambda self: isinstance(self.action, Wait))
    @rule()
    def wait(self) -> None:
        """Sleeps as long as it is told; then an attempt begins, so the wait ended before the deadline."""
        assert isinstance(self.action, Wait)
        self.elapsed += self.action.duration
        assert self.elapsed + self.limits.least_time <= self.limits.deadline
        assert isinstance(self.action, Try)

    @precondition(lambda self: isinstance(self.action, Try))
    @rule(
        kind=st.sampled_from(FailureKind),
        retry_after=st.none() | st.timedeltas(timedelta(), 90 * SECOND),
        took=st.floats(0, 1),
        first_token=st.sampled_from([False] * 9 + [True]),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def fail(self, kind: FailureKind, retry_after: timedelta | None, took: float, first_token: bool, chance: float) -> None:
        """An attempt fails; what comes next is checked against what was fresh."""
        attempt = self.action
        assert isinstance(attempt, Try)
        assert attempt.timeout <= self.limits.deadline - self.elapsed
        assert attempt.first_token_timeout <= attempt.timeout
        self.elapsed += took * attempt.timeout
        failure = Failure(kind, "no", retry_after=retry_after)
        self.state = attempts.after(
            self.state, attempt, failure, self.elapsed,
            first_token_seen=first_token, chance=lambda: chance, may_retry=self.may_retry,
        )  # fmt: skip
        self.made.append(Attempt(attempt.candidate.target, attempt.key_id, failure, self.elapsed, first_token))
        if kind in FINAL or first_token:
            assert self.action == GiveUp(failure, tuple(self.made))
        elif kind in OF_KEY:
            self.leads_on(attempt)

    def leads_on(self, attempt: Try) -> None:
        """After 429, 401 or 402 something fresh follows at once, while there is anything and the limits allow it."""
        if not {made.failure.kind for made in self.made if made.failure} <= MOVES_WITHIN_ONE:
            return
        fresh = self.fresh(attempt.candidate)
        if not fresh or len(self.made) >= self.limits.max_attempts or self.time_is_up():
            return
        action = self.action
        assert isinstance(action, Try)
        assert (action.candidate.target, action.key_id) in fresh

    def fresh(self, current: Candidate) -> set[tuple[Target, str]]:
        """What was never tried and is not known to be refused: keys of the current target, all of targets not begun."""
        tried = {(made.target, made.key_id) for made in self.made}
        begun = {made.target for made in self.made}
        refused = {
            (made.target.provider_id, made.key_id)
            for made in self.made
            if made.failure and made.failure.kind in OF_KEY - {FailureKind.RATE_LIMITED}
        }
        open_ = [item for item in self.plan.course() if item.target not in begun] if len(begun) < self.limits.max_targets else []
        return {
            (item.target, key)
            for item in [current, *open_]
            for key in item.keys
            if (item.target, key) not in tried and (item.target.provider_id, key) not in refused
        }

    def time_is_up(self) -> bool:
        """No attempt may begin any more."""
        return self.limits.deadline - self.elapsed < self.limits.least_time

    @rule(seconds=st.floats(0, 20))
    def the_driver_is_held_up(self, seconds: float) -> None:
        """It asks late; after the deadline nothing is begun and nothing waited for."""
        self.elapsed += seconds * SECOND
        if self.time_is_up():
            assert isinstance(self.action, GiveUp)

    @invariant()
    def nothing_is_tried_twice_unless_a_retry_was_granted(self) -> None:
        """A target and key come again only as a retry; so retries never exceed the budget."""
        pairs = [(made.target, made.key_id) for made in self.made]
        assert len(pairs) - len(set(pairs)) <= self.granted <= self.allowed

    @invariant()
    def a_target_that_was_left_comes_back_only_after_its_limit(self) -> None:
        """Fallback tries no target twice; only a wait for a limited key, when nothing else is left, returns to one."""
        runs = [made for place, made in enumerate(self.made) if place == 0 or self.made[place - 1].target != made.target]
        for place, run in enumerate(runs):
            if run.target in {earlier.target for earlier in runs[:place]}:
                limited = [made.target for made in self.made if made.failure and made.failure.kind is FailureKind.RATE_LIMITED]
                assert run.target in limited

    @invariant()
    def it_stays_within_its_limits(self) -> None:
        """Attempts and targets are bounded, and everything is remembered."""
        assert self.state.tried == tuple(self.made)
        assert len(self.made) <= self.limits.max_attempts
        assert len({made.target for made in self.made}) <= self.limits.max_targets

    @invariant()
    def after_a_context_window_only_larger_ones_follow(self) -> None:
        """Known windows grow from one such failure on."""
        windows: dict[Target, set[int]] = {}
        for item in (*self.plan.ranked, *(item for chain in self.plan.chains.values() for item in chain)):
            windows.setdefault(item.target, set()).add(item.context_window)
        for place, made in enumerate(self.made):
            if made.failure and made.failure.kind is FailureKind.CONTEXT_WINDOW and min(windows[made.target]) > 0:
                for later in self.made[place + 1 :]:
                    if later.target != made.target:
                        assert 0 in windows[later.target] or max(windows[later.target]) > min(windows[made.target])

    def teardown(self) -> None:
        """It ends always: however every further attempt fails, within the attempts that are allowed."""
        if not hasattr(self, "state"):
            return
        for _ in range(2 * self.limits.max_attempts + 2):
            action = self.action
            if isinstance(action, GiveUp):
                assert action.tried == self.state.tried
                return
            if isinstance(action, Wait):
                self.elapsed += action.duration
                continue
            failure = Failure(FailureKind.SERVER_ERROR)
            self.state = attempts.after(
                self.state, action, failure, self.elapsed,
                first_token_seen=False, chance=lambda: 0.5, may_retry=lambda: True,
            )  # fmt: skip
        raise AssertionError("it does not end")


TestAttemptsModel = AttemptsModel.TestCase

ONE, TWO = Target("a", "m"), Target("b", "n")
RETRIES = RetryPolicy({FailureKind.SERVER_ERROR: 1, FailureKind.RATE_LIMITED: 1}, SECOND, 8 * SECOND)
PATIENT = Limits(60 * SECOND, retry=RETRIES)


def run(plan: Plan, *outcomes: Failure | Success, limits: Limits = PATIENT, budget: bool = True) -> list[object]:
    """What a driver does with these outcomes in turn: (target, key) tried, seconds waited, the class that it ends with."""
    state, elapsed = attempts.begin(plan, limits), timedelta()
    done: list[object] = []
    for outcome in outcomes:
        action = attempts.next_action(state, elapsed)
        if isinstance(action, Wait):
            done.append(action.duration.total_seconds())
            elapsed += action.duration
            action = attempts.next_action(state, elapsed)
        assert isinstance(action, Try), (done, action)
        done.append((action.candidate.target, action.key_id))
        state = after(state, action, outcome, elapsed, budget=budget)
    if not isinstance(outcomes[-1], Success):
        action = attempts.next_action(state, elapsed)
        done.append(action.failure.kind if isinstance(action, GiveUp) else action)
    return done


def after(state: State, attempt: Try, outcome: Failure | Success, elapsed: timedelta, *, budget: bool = True) -> State:
    """The state after an attempt without a token; waits are half of what they may be."""
    return attempts.after(
        state, attempt, outcome, elapsed, first_token_seen=False, chance=lambda: 0.5, may_retry=lambda: budget
    )  # fmt: skip


def limited(seconds: float | None = None) -> Failure:
    """429, with Retry-After or without."""
    return Failure(FailureKind.RATE_LIMITED, status=429, retry_after=None if seconds is None else seconds * SECOND)


BROKEN = Failure(FailureKind.SERVER_ERROR, status=500)


def test_429_triggers_the_fallback() -> None:
    """aisix#46: 429 does not trigger the fallback. Here the next key at once, then the next model at once, no wait between."""
    plan = Plan((Candidate(ONE, ("k1", "k2")), Candidate(TWO, ("k3",))))
    assert run(plan, limited(30), limited(30), SUCCESS) == [(ONE, "k1"), (ONE, "k2"), (TWO, "k3")]


def test_a_cooldown_is_not_skipped_by_retries() -> None:
    """litellm#32574: a deployment that cools down is called again by the retries of the same request. Here it rests for it too."""
    plan = Plan((Candidate(ONE, ("k1",)), Candidate(TWO, ("k2",))))
    done = run(plan, limited(30), BROKEN, BROKEN, SUCCESS)
    assert done == [(ONE, "k1"), (TWO, "k2"), 0.5, (TWO, "k2"), 29.5, (ONE, "k1")]


def test_a_key_that_rested_comes_back_alone() -> None:
    """The one that failed in a way that no key mends is not asked again for nothing when the rested one is limited again."""
    missing = Failure(FailureKind.NOT_FOUND, status=404)
    done = run(Plan((Candidate(ONE, ("k1", "k2")),)), limited(2), missing, limited(30))
    assert done == [(ONE, "k1"), (ONE, "k2"), 2.0, (ONE, "k1"), FailureKind.RATE_LIMITED]


def test_who_was_not_asked_uses_up_no_limit() -> None:
    """A request that most dialects have no word for comes to the model that has one, however many better ones are passed over."""
    others = [Target(f"other{number}", "m") for number in range(9)]
    plan = Plan(tuple(map(Candidate, (*others, ONE, TWO))))
    unfit = Failure(FailureKind.BAD_REQUEST, of_dialect=True)
    found = run(plan, *[unfit] * 9, limited(), SUCCESS)
    assert found == [(target, "") for target in (*others, ONE, TWO)]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    """It ends at once with the provider's own answer instead of sleeping into the deadline."""
    assert run(Plan((Candidate(ONE),)), limited(60)) == [(ONE, ""), FailureKind.RATE_LIMITED]


def test_with_nothing_else_left_it_waits_for_retry_after_once() -> None:
    """Exactly as long as it was asked, and no more often than the policy says."""
    assert run(Plan((Candidate(ONE),)), limited(7), limited(7)) == [(ONE, ""), 7.0, (ONE, ""), FailureKind.RATE_LIMITED]


def test_a_refused_key_is_not_used_for_the_providers_other_models() -> None:
    """401 is about the key: the next model of the same provider is tried with the other key only."""
    refused, other = Failure(FailureKind.UNAUTHENTICATED, status=401), Target("a", "n")
    plan = Plan((Candidate(ONE, ("k1",)), Candidate(other, ("k1", "k2"))))
    assert run(plan, refused, SUCCESS) == [(ONE, "k1"), (other, "k2")]


def test_a_candidate_that_may_not_be_paid_for_is_passed_over() -> None:
    """It uses up neither an attempt nor its provider's key; what is told in the end is how the others failed."""
    other = Target("a", "n")
    state = attempts.begin(Plan((Candidate(ONE, ("k1",)), Candidate(TWO), Candidate(other, ("k1",)))), PATIENT)
    first = attempts.next_action(state, timedelta())
    assert isinstance(first, Try)
    gone = Failure(FailureKind.NOT_FOUND)
    state = attempts.after(state, first, gone, timedelta(), first_token_seen=False, chance=lambda: 0.0, may_retry=lambda: True)
    second = attempts.next_action(state, timedelta())
    assert isinstance(second, Try)
    assert second.candidate.target == TWO
    state = attempts.without(state, second.candidate, may_retry=lambda: True)
    third = attempts.next_action(state, timedelta())
    assert isinstance(third, Try)
    assert (third.candidate.target, third.key_id) == (other, "k1")
    end = attempts.next_action(attempts.without(state, third.candidate, may_retry=lambda: True), timedelta())
    assert isinstance(end, GiveUp)
    assert (end.failure, len(end.tried)) == (gone, 1)


def test_without_a_retry_budget_a_failing_target_is_left_at_once() -> None:
    """The fallback is no retry: it goes on."""
    assert run(Plan((Candidate(ONE), Candidate(TWO))), BROKEN, SUCCESS, budget=False) == [(ONE, ""), (TWO, "")]


def test_without_a_retry_budget_nothing_is_waited_for() -> None:
    """Waiting for a limited key is a retry too."""
    assert run(Plan((Candidate(ONE),)), limited(7), budget=False) == [(ONE, ""), FailureKind.RATE_LIMITED]


def test_a_backoff_that_would_pass_the_deadline_goes_on_instead() -> None:
    """Half a second to wait and a third of one left: the next target at once."""
    limits = Limits(SECOND / 3, retry=RETRIES)
    assert run(Plan((Candidate(ONE), Candidate(TWO))), BROKEN, SUCCESS, limits=limits) == [(ONE, ""), (TWO, "")]


def test_a_request_too_long_is_neither_sent_to_a_smaller_model_nor_kept_waiting_for_one() -> None:
    """Of three models the larger one is asked; the limited small one is not waited for when that one fails for length too."""
    small, mid, large = (Candidate(Target(name, "m"), context_window=size) for name, size in (("s", 8), ("m", 32), ("l", 128)))
    too_long = Failure(FailureKind.CONTEXT_WINDOW)
    assert run(Plan((mid, small, large)), too_long, SUCCESS) == [(mid.target, ""), (large.target, "")]
    assert run(Plan((small, large)), limited(7), too_long) == [(small.target, ""), (large.target, ""), FailureKind.CONTEXT_WINDOW]


def test_a_chain_that_names_what_was_tried_does_not_try_it_again() -> None:
    """Chains may overlap with the rank and with each other."""
    plan = Plan((Candidate(ONE), Candidate(TWO)), {Cause.CONTENT_POLICY: (Candidate(TWO), Candidate(ONE))})
    policy = Failure(FailureKind.CONTENT_POLICY)
    assert run(plan, policy, policy) == [(ONE, ""), (TWO, ""), FailureKind.CONTENT_POLICY]


@pytest.mark.parametrize("kind", sorted(FINAL))
def test_the_callers_own_mistake_ends_it(kind: FailureKind) -> None:
    """No other model is asked for what no model can answer."""
    assert run(Plan((Candidate(ONE), Candidate(TWO))), Failure(kind)) == [(ONE, ""), kind]


@pytest.mark.parametrize("kind", sorted(frozenset(FailureKind) - FINAL))
def test_before_the_first_token_it_moves_on_and_after_it_it_ends(kind: FailureKind) -> None:
    """Nobody may begin an answer again of which the caller has seen a part."""
    plan = Plan((Candidate(ONE, context_window=8), Candidate(TWO, context_window=32)))
    limits = Limits(60 * SECOND)
    state = attempts.begin(plan, limits)
    first = attempts.next_action(state, timedelta())
    assert isinstance(first, Try)
    for seen in (False, True):
        then = attempts.after(
            state, first, Failure(kind), SECOND, first_token_seen=seen, chance=lambda: 0.5, may_retry=lambda: False
        )  # fmt: skip
        action = attempts.next_action(then, SECOND)
        if seen:
            assert action == GiveUp(Failure(kind), (Attempt(ONE, "", Failure(kind), SECOND, first_token_seen=True),))
        else:
            assert isinstance(action, Try)
            assert action.candidate.target == TWO


def test_chains_by_cause_replace_the_rank() -> None:
    """The general chain after an error, the one for long requests after a context window, and within it an error goes on in it."""
    long, longer, spare, next_ = Target("c", "long"), Target("c", "longer"), Target("d", "spare"), Target("b", "next")
    plan = Plan(
        (Candidate(ONE, context_window=8), Candidate(next_, context_window=8)),
        {
            Cause.GENERAL: (Candidate(spare, context_window=8),),
            Cause.CONTEXT_WINDOW: (Candidate(long, context_window=32), Candidate(longer, context_window=128)),
        },
    )
    gone, too_long = Failure(FailureKind.NOT_FOUND), Failure(FailureKind.CONTEXT_WINDOW)
    assert run(plan, gone, gone) == [(ONE, ""), (spare, ""), FailureKind.NOT_FOUND]
    assert run(plan, too_long, gone, SUCCESS) == [(ONE, ""), (long, ""), (longer, "")]
    assert run(plan, too_long, too_long, SUCCESS) == [(ONE, ""), (long, ""), (longer, "")]


def test_without_a_chain_a_refusal_of_content_goes_to_another_provider() -> None:
    """The same provider has the same policy."""
    same, other = Target("a", "n"), Target("b", "n")
    plan = Plan((Candidate(ONE), Candidate(same), Candidate(other)))
    assert run(plan, Failure(FailureKind.CONTENT_POLICY), SUCCESS) == [(ONE, ""), (other, "")]


def test_with_nothing_to_try_it_says_so() -> None:
    """No candidate, or no time."""
    nothing = attempts.next_action(attempts.begin(Plan(()), PATIENT), timedelta())
    late = attempts.next_action(attempts.begin(Plan((Candidate(ONE),)), PATIENT), 60 * SECOND)
    assert isinstance(nothing, GiveUp)
    assert isinstance(late, GiveUp)
    assert (nothing.failure.kind, late.failure.kind) == (FailureKind.UNREACHABLE, FailureKind.TIMEOUT)


def test_a_request_that_succeeded_asks_no_more() -> None:
    """A driver that does is mistaken, and learns it."""
    state = attempts.begin(Plan((Candidate(ONE),)), PATIENT)
    first = attempts.next_action(state, timedelta())
    assert isinstance(first, Try)
    with pytest.raises(ValueError, match="has its answer"):
        attempts.next_action(after(state, first, SUCCESS, SECOND), SECOND)
