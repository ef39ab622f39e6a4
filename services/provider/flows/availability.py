"""Availability on its store: what can be used now, what outcomes do to it, operators' calls, and telling each change once.

Everything is in the store, so it survives a kill, and each replica sees in its next transaction what another one noted. Nothing is
written when a cooldown or an open time ends: the state follows from the time; `sweep` only tells that it changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mesh.db import Transaction
from mesh.host import Host
from services.provider.availability import Availability, Drain, Resource
from services.provider.failure import Failure
from services.provider.fallback import Candidate, Target
from services.provider.flows.known import Known


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended (failure None: well); lengths of time None: not measured."""

    target: Target
    key_id: str = ""
    failure: Failure | None = None
    latency: timedelta | None = None
    first_token: timedelta | None = None
    output_tokens: int = 0


async def read(host: Host, tx: Transaction, known: Known) -> Availability:
    """What can be used now, and how models do; for selection and for the start of a call."""
    raise NotImplementedError


async def enter(
    host: Host, tx: Transaction, known: Known, seen: Availability, call_id: str, candidates: Iterable[Candidate], ttl: timedelta
) -> tuple[Candidate, ...]:
    """The candidates that take this call now, with their free keys; the first counts as in flight for at most `ttl`.

    When the first one is on trial, the call is its trial. To be called in the transaction that reserves; `note` ends both.
    """
    raise NotImplementedError


async def note(host: Host, tx: Transaction, known: Known, call_id: str, outcomes: Sequence[Outcome]) -> None:
    """Notes how the attempts of a call ended, which then is no longer in flight; tells what changed. Part of the settlement."""
    raise NotImplementedError


async def reset(host: Host, tx: Transaction, known: Known, resource: Resource) -> None:
    """Ends cooldown and breaker of a resource; for operators, and for whoever changes a key."""
    raise NotImplementedError


async def drain(host: Host, tx: Transaction, known: Known, resource: Resource, drain: Drain | None) -> None:
    """Takes a resource out of rotation, or puts it back (None)."""
    raise NotImplementedError


async def sweep(host: Host, known: Known) -> None:
    """Tells what changed because time passed, and forgets what is over."""
    raise NotImplementedError
