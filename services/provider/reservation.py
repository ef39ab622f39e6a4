"""Reservations: money set aside for a call, the states it goes through, and why one is denied."""

import enum
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from services.provider.budget import Mode, Standing
from services.provider.burst import Taken
from services.provider.labels import Labels


class State(enum.IntEnum):
    """Where a reservation stands; the numbers are those of the contract."""

    OPEN = 1
    SETTLED = 2
    RELEASED = 3
    EXPIRED = 4


class Reservation(Struct, frozen=True):
    """Money set aside (nano units); `created` says in which windows it counts, `wait` how long burst policies let it wait.

    `taken` is what it took from the buckets of burst policies.
    """

    reservation_id: str
    labels: Labels
    amount: int
    created: datetime
    expires: datetime
    input_tokens: int = 0
    output_tokens: int = 0
    state: State = State.OPEN
    ended: datetime | None = None
    usage_id: str = ""
    cost: int | None = None
    late: bool = False
    wait: timedelta = timedelta()
    taken: tuple[Taken, ...] = ()
    max_output_tokens: int = 0
    # after a dry run: how the budgets stand that would be asked
    standings: Sequence[Standing] = ()

    @property
    def tokens(self) -> int:
        """Tokens that were assumed, input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def overrun(self) -> int:
        """What was spent beyond what was reserved."""
        return max((self.cost or 0) - self.amount, 0)


class Source(enum.Enum):
    """What denies a reservation."""

    BUDGET = "budget"
    BURST = "burst"


class Denial(Struct, frozen=True):
    """One budget or burst policy that stands against a reservation; `wait` is when time alone would help, None: never.

    `most` is the dearest call that it would let through, -1: none at all.
    """

    source: Source
    name: str
    detail: str
    wait: timedelta | None
    degrades: bool = False
    most: int = -1


class Denied(Struct, frozen=True):
    """A reservation that was not made, and everything that stands against it.

    `affordable` is the dearest call that all budgets would let through now; None: any.
    """

    denials: tuple[Denial, ...]
    affordable: int | None = None

    @property
    def cheaper_helps(self) -> bool:
        """Whether only budgets in mode DEGRADE stand against it, so that a cheaper or a free model is what they ask for."""
        return all(denial.source is Source.BUDGET and denial.degrades for denial in self.denials)

    @property
    def budgets(self) -> tuple[str, ...]:
        """Ids of the budgets that stand against it."""
        return tuple(denial.name for denial in self.denials if denial.source is Source.BUDGET)

    @property
    def policies(self) -> tuple[str, ...]:
        """Ids of the burst policies that stand against it."""
        return tuple(denial.name for denial in self.denials if denial.source is Source.BURST)

    @property
    def retry_after(self) -> timedelta | None:
        """How long until nothing stands against it, if nobody else comes; None when waiting alone does not help."""
        waits = [denial.wait for denial in self.denials]
        known = [wait for wait in waits if wait is not None]
        return max(known) if waits and len(known) == len(waits) else None


def denials(standings: Iterable[Standing], amount: int, now: datetime) -> tuple[Denial, ...]:
    """Every budget that does not let such an amount through."""
    return tuple(
        Denial(
            Source.BUDGET,
            standing.budget.budget_id,
            standing.lacks(now),
            standing.frees(amount, now),
            standing.budget.mode is Mode.DEGRADE,
            standing.most if standing.most is not None else amount,
        )
        for standing in standings
        if not standing.allows(amount)
    )


def affordable(standings: Iterable[Standing]) -> int | None:
    """The dearest call that all of them let through; None: any, -1: not even a free one."""
    return min((standing.most for standing in standings if standing.most is not None), default=None)
