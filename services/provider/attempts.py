"""The course of one request over keys, retries and fallbacks: a pure engine, which whoever talks to providers asks what to do next.

    state = begin(plan, limits)
    while True:
        match next_action(state, elapsed()):
            case Try() as attempt: ...call the provider...; state = after(state, attempt, outcome, elapsed(), ...)
            case Wait(duration): ...sleep...
            case GiveUp(failure, tried): ...refuse...

Times are lengths since the request began. It ends always: each attempt uses up a retry, a key or a target, and `max_attempts`
bounds those that ask somebody. It never waits past the deadline. What rests (a key after 429) or is used up (a key after 401) stays
so for the whole request, whatever its retries do.
"""

from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Cause, Plan, Target, cause_of
from services.provider.retrying import Chance, RetryPolicy

# the caller's own doing: no other model would do better, and nobody waits for the answer any more
FINAL = frozenset({FailureKind.BAD_REQUEST, FailureKind.CANCELLED})
# another key of the same provider may do
OF_KEY = frozenset({FailureKind.RATE_LIMITED, FailureKind.QUOTA_EXHAUSTED, FailureKind.UNAUTHENTICATED})
_NOW = timedelta()


class Limits(Struct, frozen=True):
    """How long and how often: `deadline` from the beginning; an attempt is not begun with less than `least_time` left."""

    deadline: timedelta
    attempt_timeout: timedelta = timedelta(minutes=10)
    first_token_timeout: timedelta = timedelta(minutes=1)
    least_time: timedelta = timedelta(milliseconds=50)
    max_attempts: int = 8
    max_targets: int = 4
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Success(Struct, frozen=True):
    """An attempt that ended as it should."""


SUCCESS = Success()


class Try(Struct, frozen=True):
    """Call this target with this key ("": none); `timeout` is for the whole call, `first_token_timeout` until something comes."""

    candidate: Candidate
    key_id: str
    timeout: timedelta
    first_token_timeout: timedelta


class Wait(Struct, frozen=True):
    """Sleep that long, then ask again; it ends before the deadline."""

    duration: timedelta


class Attempt(Struct, frozen=True):
    """One attempt that was made and how it ended (None: well)."""

    target: Target
    key_id: str
    failure: Failure | None
    ended: timedelta
    first_token_seen: bool = False


class GiveUp(Struct, frozen=True):
    """Nothing is left to do: the failure to tell, and all that was tried."""

    failure: Failure
    tried: tuple[Attempt, ...]


Action = Try | Wait | GiveUp


class Limited(Struct, frozen=True):
    """A key that may be used again for a candidate at `until`, should nothing else be left by then."""

    candidate: Candidate
    key_id: str
    until: timedelta


class State(Struct, frozen=True):
    """What is left of a request's course (`left[0]` is next), when it goes on, and what was tried.

    `spent` holds keys that are not used again: at a target, or at every model of a provider (then the target's model is empty).
    """

    plan: Plan
    limits: Limits
    left: tuple[Candidate, ...]
    resume: timedelta = _NOW
    tried: tuple[Attempt, ...] = ()
    over: bool = False
    spent: frozenset[tuple[Target, str]] = frozenset()
    limited: tuple[Limited, ...] = ()

    @property
    def targets(self) -> frozenset[Target]:
        """What was tried, each once."""
        return frozenset(attempt.target for attempt in self.tried)

    @property
    def asked(self) -> list[Attempt]:
        """Attempts at which somebody was asked: who cannot be told in its dialect was not, and uses up no limit."""
        return [made for made in self.tried if not (made.failure and made.failure.of_dialect)]


def begin(plan: Plan, limits: Limits) -> State:
    """The state before the first attempt."""
    return State(plan, limits, tuple(candidate for candidate in plan.course() if candidate.keys))


def next_action(state: State, elapsed: timedelta) -> Action:
    """What to do now; not asked any more after a success."""
    limits, remaining = state.limits, state.limits.deadline - elapsed
    if state.over or not state.left or _used_up(state) or remaining < limits.least_time:
        return GiveUp(_to_tell(state, remaining), state.tried)
    if state.resume > elapsed:
        return Wait(state.resume - elapsed)
    candidate = state.left[0]
    timeout = min(limits.attempt_timeout, remaining)
    return Try(candidate, _keys(state, candidate)[0], timeout, min(limits.first_token_timeout, timeout))


def after(
    state: State,
    attempt: Try,
    outcome: Failure | Success,
    elapsed: timedelta,
    *,
    first_token_seen: bool,
    chance: Chance,
    may_retry: Callable[[], bool],
) -> State:
    """The state after an attempt. `may_retry` takes one retry from the budget; it is asked only when the retry then is made."""
    failure = outcome if isinstance(outcome, Failure) else None
    made = Attempt(attempt.candidate.target, attempt.key_id, failure, elapsed, first_token_seen)
    state = replace(state, tried=(*state.tried, made), resume=_NOW)
    if failure is None or first_token_seen or (failure.kind in FINAL and not failure.of_dialect):
        # what the caller has seen of a stream cannot be taken back, so nobody may begin it again
        return replace(state, over=True)
    if failure.kind in OF_KEY:
        state = _without_key(state, attempt, failure, elapsed, chance)
        if _keys(state, attempt.candidate):
            return state
        return _last_resort(_moved_on(state, attempt.candidate, failure), may_retry)
    wait = _wait(state, attempt.candidate.target, failure, chance)
    if wait is not None and _in_time(state, elapsed + wait) and may_retry():
        return replace(state, resume=elapsed + wait)
    return _last_resort(_moved_on(state, attempt.candidate, failure), may_retry)


def without(state: State, candidate: Candidate, *, may_retry: Callable[[], bool]) -> State:
    """The state without a candidate that may not be tried: the caller's budget does not let it through."""
    left = tuple(item for item in state.left if item.target != candidate.target)
    return _last_resort(replace(state, left=left), may_retry)


def _used_up(state: State) -> bool:
    return len(state.asked) >= state.limits.max_attempts


def _in_time(state: State, resume: timedelta) -> bool:
    """Whether an attempt could still begin then."""
    return not _used_up(state) and resume + state.limits.least_time <= state.limits.deadline


def _keys(state: State, candidate: Candidate) -> list[str]:
    """The keys that this request has not used up for a candidate."""
    if not state.spent:
        # as nearly always
        return list(candidate.keys)
    target = candidate.target
    everywhere = target._replace(model="")
    return [key for key in candidate.keys if (target, key) not in state.spent and (everywhere, key) not in state.spent]


def _without_key(state: State, attempt: Try, failure: Failure, elapsed: timedelta, chance: Chance) -> State:
    """Takes the key out: for this model when it is limited, for all of the provider's when it is refused or has no credit left."""
    target, key = attempt.candidate.target, attempt.key_id
    if failure.kind is not FailureKind.RATE_LIMITED:
        return replace(state, spent=state.spent | {(target._replace(model=""), key)})
    pause = failure.retry_after
    if pause is None:
        pause = state.limits.retry.backoff(_failures(state, target, failure.kind), chance)
    limited = Limited(attempt.candidate, key, elapsed + pause)
    return replace(state, spent=state.spent | {(target, key)}, limited=(*state.limited, limited))


def _wait(state: State, target: Target, failure: Failure, chance: Chance) -> timedelta | None:
    """How long to wait before the same target is called again; None: it is not."""
    retry, failures = state.limits.retry, _failures(state, target, failure.kind)
    # what is too long or refused by policy for a target stays so
    if cause_of(failure.kind) is not Cause.GENERAL or not retry.allows(failure.kind, failures):
        return None
    wait = max(retry.backoff(failures, chance), failure.retry_after or _NOW)
    return wait if wait <= retry.longest else None


def _failures(state: State, target: Target, kind: FailureKind) -> int:
    return sum(1 for made in state.tried if made.target == target and made.failure is not None and made.failure.kind is kind)


def _moved_on(state: State, failed: Candidate, failure: Failure) -> State:
    """The course without the candidate that failed, turned into the chain of the failure's cause."""
    left = state.plan.onward(cause_of(failure.kind), failed, state.left[1:], state.targets)
    if len({made.target for made in state.asked}) >= state.limits.max_targets:
        left = ()
    return replace(state, left=tuple(item for item in left if _keys(state, item)))


def _last_resort(state: State, may_retry: Callable[[], bool]) -> State:
    """With nothing left: waits for the key that comes back first, if there is one before the deadline."""
    if state.left or any(made.failure is not None and made.failure.kind is FailureKind.CONTEXT_WINDOW for made in state.tried):
        return state
    worth = [item for item in state.limited if _may_come_back(state, item)]
    if not worth or not may_retry():
        return state
    first = min(worth, key=lambda item: item.until)
    return replace(
        state,
        # its other keys rest, too, or it failed with one of them in a way that no key mends
        left=(replace(first.candidate, keys=(first.key_id,)),),
        resume=first.until,
        spent=state.spent - {(first.candidate.target, first.key_id)},
        limited=tuple(item for item in state.limited if item is not first),
    )


def _may_come_back(state: State, item: Limited) -> bool:
    target = item.candidate.target
    refused = (target._replace(model=""), item.key_id) in state.spent
    allowed = state.limits.retry.allows(FailureKind.RATE_LIMITED, _failures(state, target, FailureKind.RATE_LIMITED))
    return allowed and not refused and _in_time(state, item.until)


def _to_tell(state: State, remaining: timedelta) -> Failure:
    """The last failure of somebody who was asked, else the last; without any attempt, why there was none."""
    if state.tried:
        failure = (state.asked or state.tried)[-1].failure
        if failure is None:
            raise ValueError("the request has its answer; there is nothing left to ask")
        return failure
    if remaining < state.limits.least_time:
        return Failure(FailureKind.TIMEOUT, "the deadline passed before an attempt could begin")
    return Failure(FailureKind.UNREACHABLE, "no model that could take this request is available now")
