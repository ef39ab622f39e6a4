"""Budgets: what they cover, what they let through, and which thresholds spending has reached."""

import enum
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field

from services.provider.labels import EVERYTHING, MODEL, PROVIDER, Labels
from services.provider.windows import FOREVER, MONTHLY, Kind, Rule, Window

PERCENT = 100


class Mode(enum.IntEnum):
    """What happens when a budget is spent; the numbers are those of the contract."""

    NOTIFY = 1
    DENY = 2
    # cheaper models that still fit, and free ones, go on
    DEGRADE = 3


class Budget(Struct, frozen=True):
    """A limit in nano units on what its scope may cost in each window; `thresholds` in percent of the limit, ascending.

    With `each`, the name of a label, every value of that label has the limit to itself; usage without it counts as value "".
    """

    budget_id: str
    limit: int
    display_name: str = ""
    scope: Labels = EVERYTHING
    rule: Rule = MONTHLY
    thresholds: tuple[int, ...] = (50, 80, 100)
    mode: Mode = Mode.NOTIFY
    each: str = ""
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    updated: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def same_ledger(self, other: "Budget") -> bool:
        """Whether both count the same usage in the same windows."""
        return (self.scope, self.rule, self.each) == (other.scope, other.rule, other.each)

    @property
    def narrows_models(self) -> bool:
        """Whether it depends on provider or model what is covered, or whose share it is."""
        by = {PROVIDER, MODEL}
        return self.each in by or any(name in by for name, _ in self.scope.pairs)

    def holder(self, labels: Labels) -> str:
        """Whose share of the limit usage with these labels takes; "" when there are no shares."""
        return labels.get(self.each) if self.each else ""


class Account(Struct, frozen=True):
    """What one slot of a budget holds, in nano units: spent for good, and reserved by calls that run."""

    spent: int = 0
    reserved: int = 0

    @property
    def taken(self) -> int:
        """Both."""
        return self.spent + self.reserved


class Standing(Struct, frozen=True):
    """A budget's share of one holder: spent and reserved (nano units) in the window that counts, and thresholds told in it.

    `slots` holds the parts of a rolling window by the slot's beginning; empty for any other.
    """

    budget: Budget
    window: Window
    spent: int
    told: tuple[int, ...] = ()
    reserved: int = 0
    holder: str = ""
    slots: Mapping[datetime, Account] = field(default_factory=dict)

    def takes(self, labels: Labels) -> bool:
        """Whether usage with these labels counts in this share."""
        return self.budget.scope.covers(labels) and self.budget.holder(labels) == self.holder

    @property
    def remaining(self) -> int:
        """What is left of the limit, at least 0."""
        return max(self.budget.limit - self.spent, 0)

    @property
    def room(self) -> int:
        """What may still be reserved, at least 0."""
        return max(self.budget.limit - self.spent - self.reserved, 0)

    def allows(self, cost: int) -> bool:
        """Whether a call of that cost fits beside what is spent and reserved.

        A spent budget in mode DENY lets nothing through, not even what is free; in mode DEGRADE what is free always passes.
        """
        if self.budget.mode is Mode.NOTIFY:
            return True
        if self.budget.mode is Mode.DEGRADE and cost == 0:
            return True
        return self.spent < self.budget.limit and cost <= self.room

    @property
    def most(self) -> int | None:
        """The dearest call that it lets through; None: any, -1: not even a free one."""
        if self.budget.mode is Mode.NOTIFY:
            return None
        return self.room if self.allows(0) else -1

    def lacks(self, now: datetime) -> str:
        """That it leaves too little, as a sentence."""
        whose = f" of {self.budget.each} {self.holder!r}" if self.budget.each else ""
        fixed, end = self.budget.rule.kind in (Kind.CALENDAR, Kind.FIXED), self.window.end.isoformat()
        when = f" until {end}" if now < self.window.end else f" of the window that ended at {end}, in which the call counts"
        return f"budget {self.budget.budget_id}{whose} leaves too little{when if fixed else ''}"

    def frees(self, cost: int, now: datetime) -> timedelta | None:
        """How long until the passing of time alone lets such a call through; None when time alone never does."""
        if cost > self.budget.limit:
            return None
        if not self.budget.rule.rolling:
            # of a window that is over nothing is freed
            return self.window.end - now if now < self.window.end < FOREVER else None
        left = self.spent + self.reserved
        for slot in sorted(self.slots):
            left -= self.slots[slot].taken
            if left + cost <= self.budget.limit and left < self.budget.limit:
                # the slot is out when the window begins at its end
                return slot + self.budget.rule.slot_length + self.budget.rule.length - now
        return None


def reached(limit: int, spent: int, threshold: int) -> bool:
    """Whether spending is at or over that percentage of the limit, in exact integers."""
    return spent * PERCENT >= limit * threshold


def newly_reached(budget: Budget, spent: int, told: Collection[int]) -> list[int]:
    """Thresholds that are reached and were not told in this window yet, ascending: a jump tells each that it passes."""
    return [percent for percent in budget.thresholds if percent not in told and reached(budget.limit, spent, percent)]


def cost_pressure(threshold: int, *, tight_from: int, factor: float) -> float:
    """How much dearer spending looks after a threshold was reached: 1 below `tight_from`, then `factor`, squared from 100 %."""
    if threshold < tight_from:
        return 1.0
    return factor * factor if threshold >= PERCENT else factor


class Index:
    """Budgets by label, so that those which cover some usage are found without looking at all."""

    def __init__(self, budgets: Collection[Budget]) -> None:
        self.budgets = {budget.budget_id: budget for budget in sorted(budgets, key=lambda budget: budget.budget_id)}
        self._exact = _Lookup({key: budget.scope.pairs for key, budget in self.budgets.items()})
        self._callers = _Lookup({key: _of_caller(budget.scope) for key, budget in self.budgets.items()})

    def covering(self, labels: Labels) -> list[Budget]:
        """Every budget that covers usage with these labels, by id: an order that is the same for everyone who locks them."""
        return [self.budgets[key] for key in self._exact.within(labels.pairs)]

    def touching(self, labels: Labels) -> list[Budget]:
        """Every budget that covers usage with these labels and some provider and model, by id."""
        return [self.budgets[key] for key in self._callers.within(labels.pairs)]


def _of_caller(scope: Labels) -> frozenset[tuple[str, str]]:
    return frozenset(pair for pair in scope.pairs if pair[0] not in (PROVIDER, MODEL))


class _Lookup:
    """Sets of pairs, each filed under its rarest pair, so that no list is long without need."""

    def __init__(self, sets: Mapping[str, frozenset[tuple[str, str]]]) -> None:
        self._sets = sets
        self._everywhere: list[str] = []
        self._filed: dict[tuple[str, str], list[str]] = {}
        counts = Counter(pair for pairs in sets.values() for pair in pairs)
        for key, pairs in sets.items():
            if pairs:
                self._filed.setdefault(min(pairs, key=lambda pair: (counts[pair], pair)), []).append(key)
            else:
                self._everywhere.append(key)

    def within(self, pairs: frozenset[tuple[str, str]]) -> list[str]:
        """Keys, in order, of the sets that these pairs hold whole."""
        found = [key for pair in pairs for key in self._filed.get(pair, ()) if self._sets[key] <= pairs]
        return sorted([*self._everywhere, *found])
