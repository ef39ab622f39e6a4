"""Budgets as a stateful model: whatever two replicas reserve, settle, release, extend, expire and lose, the sums hold."""

import asyncio
import itertools
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from tooloo.event.v1.event_pb2 import Event
from tooloo.provider.v1.provider_events_pb2 import BudgetThresholdExceeded

from mesh.clock import ManualClock, from_us
from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.provider.budget import Account, Budget, Mode
from services.provider.flows import accounts, reserving
from services.provider.flows.known import Known
from services.provider.flows.reserving import Ask, Used
from services.provider.labels import Labels, from_text
from services.provider.reservation import Denied, Reservation, State
from services.provider.windows import Kind, Period, Rule
from tests.support.budgets import Replica

T = TypeVar("T")
START = datetime(2026, 3, 28, 20, tzinfo=UTC)
RED, BIG = Labels.of(team="red"), Labels.of(model="big")
DAY = Rule(period=Period.DAY, time_zone="Europe/Berlin")
HOUR = Rule(Kind.ROLLING, length=timedelta(hours=1))
BUDGETS = (
    Budget("all", 2000, rule=Rule(Kind.LIFETIME), mode=Mode.DENY),
    Budget("red", 300, scope=RED, rule=DAY, mode=Mode.DENY),
    Budget("shares", 200, rule=HOUR, mode=Mode.DENY, each="user", thresholds=(50, 100)),
    Budget("soft", 100, rule=Rule(), thresholds=(10, 50, 100, 200)),
    Budget("thrifty", 400, scope=BIG, rule=Rule(Kind.FIXED, length=timedelta(hours=6), anchor=START), mode=Mode.DEGRADE),
)
CAPPED = [budget for budget in BUDGETS if budget.mode is not Mode.NOTIFY]
REDEFINED = (Labels(), RED, Labels.of(user="ada"), Labels.of(team="red", model="big"))
labels = st.builds(
    lambda user, team, model: Labels.of(user=user, team=team, provider="acme", model=model),
    st.sampled_from(["ada", "bob", ""]),
    st.sampled_from(["red", "blue", ""]),
    st.sampled_from(["big", "gift"]),
)
amounts = st.sampled_from([0, 1, 40, 90, 100, 150, 310]) | st.integers(0, 400)
replicas = st.integers(0, 1)


class BudgetMachine(RuleBasedStateMachine):
    """Two replicas on one file, and what this test itself did with them."""

    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="tooloo-budgets-")
        self.clock = ManualClock(START)
        self.replicas: list[Replica] = []
        self.ids = (f"id-{number:06}" for number in itertools.count())
        # by id of a reservation: what its settlement spent beyond what it held at that moment
        self.overruns: dict[str, int] = {}
        self.costs: dict[str, int] = {}
        self.fluid: Budget | None = None
        self.seen: dict[str, list[Any]] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it to its end."""
        self.seen.clear()
        return self.runner.run(work)

    def write(self, by: int, flow: Callable[[Host, Transaction, Known], Awaitable[T]]) -> T:
        """Runs a flow in a write transaction of one of the replicas."""
        return self.run(self.replicas[by].write(flow))

    def refused(self, by: int, flow: Callable[[Host, Transaction, Known], Awaitable[object]]) -> bool:
        """Whether the state forbids it; any other refusal is a fault."""
        try:
            self.write(by, flow)
        except Refusal as refusal:
            if refusal.reason != "STATE_FORBIDS":
                raise
            return True
        return False

    async def _open(self) -> None:
        path = Path(self.folder.name) / "provider.db"
        self.replicas = [await Replica.open(path, self.clock, lambda: next(self.ids)) for _ in range(2)]
        self.reader = sqlite3.connect(path)
        self.reader.row_factory = sqlite3.Row

    @initialize()
    def begin(self) -> None:
        """Makes the budgets."""
        self.run(self._open())
        for budget in BUDGETS:
            self.write(0, partial(self._put, budget, None))

    async def _put(self, budget: Budget, before: Budget | None, host: Host, tx: Transaction, known: Known) -> None:
        await accounts.put(host, tx, budget, before, self.clock.now())

    @rule(target=reservations, by=replicas, wanted=labels, amount=amounts, minutes=st.sampled_from([1, 1, 5, 60, 600]))
    def reserve(self, by: int, wanted: Labels, amount: int, minutes: int) -> Any:
        """Lets it through exactly when every budget that covers it allows it."""
        return self._reserve(by, wanted, amount, minutes)

    def _reserve(self, by: int, wanted: Labels, amount: int, minutes: int) -> Any:
        ask = Ask(wanted, amount, ttl=timedelta(minutes=minutes))
        allowed = [one.budget_id for one in CAPPED if one.scope.covers(wanted) and not self._allows(one, wanted, amount)]
        made = self.write(by, lambda host, tx, known: reserving.reserve(host, tx, known, ask))
        if isinstance(made, Denied):
            assert list(made.budgets) == allowed
            assert made.budgets
            return multiple()
        assert not allowed
        return made.reservation_id

    @rule(target=reservations, by=replicas, amount=st.sampled_from([60, 90, 150]), minutes=st.sampled_from([1, 90]))
    def reserve_what_is_scarce(self, by: int, amount: int, minutes: int) -> Any:
        """The same for one user again and again, so that limits are met often."""
        return self._reserve(by, Labels.of(user="ada", provider="acme", model="gift"), amount, minutes)

    @rule(target=reservations, by=replicas, amount=st.sampled_from([60, 90, 150]))
    def reserve_again_soon(self, by: int, amount: int) -> Any:
        """And a little later, in another slot of the hour."""
        self.clock.advance(timedelta(minutes=3))
        return self._reserve(by, Labels.of(user="ada", provider="acme", model="gift"), amount, 2)

    def _allows(self, budget: Budget, wanted: Labels, amount: int) -> bool:
        standing = self.run(
            self.replicas[0].read(lambda tx: accounts.standing_of(tx, budget, self.clock.now(), budget.holder(wanted)))
        )
        taken = self._model(budget).get(budget.holder(wanted), {})
        window = budget.rule.window_at(self.clock.now())
        inside = [account for slot, account in taken.items() if window.holds(slot)]
        assert (standing.spent, standing.reserved) == (sum(a.spent for a in inside), sum(a.reserved for a in inside))
        return standing.allows(amount)

    @rule(by=replicas, reservation_id=reservations, cost=amounts, model=st.sampled_from(["", "big", "gift"]))
    def settle(self, by: int, reservation_id: str, cost: int, model: str) -> None:
        """Is always recorded, once; a second time gives the first answer; with another model than was reserved for, too."""
        before = self._get(reservation_id)
        called = before.labels.plus(model=model) if model else before.labels
        used = Used(10, 10, cost=cost, labels=called)
        settled = self.write(by, lambda host, tx, known: reserving.settle(host, tx, known, reservation_id, used))
        assert settled.again == (reservation_id in self.costs)
        assert settled.cost == self.costs.setdefault(reservation_id, cost)
        if not settled.again:
            held = before.amount if before.state is State.OPEN and called == before.labels else 0
            self.overruns[reservation_id] = max(cost - held, 0)
            assert settled.reservation.late == (before.state is not State.OPEN)

    @rule(by=replicas, reservation_id=reservations)
    def release(self, by: int, reservation_id: str) -> None:
        """Is refused when it is settled, and else changes nothing a second time."""
        before = self._get(reservation_id)
        refused = self.refused(by, lambda host, tx, known: reserving.release(host, tx, known, reservation_id))
        assert refused == (before.state is State.SETTLED)

    @rule(by=replicas, reservation_id=reservations, amount=amounts)
    def extend(self, by: int, reservation_id: str, amount: int) -> None:
        """Is denied by name, and then leaves what was reserved."""
        before = self._get(reservation_id)
        answers: list[Reservation | Denied] = []

        async def work(host: Host, tx: Transaction, known: Known) -> None:
            answers.append(await reserving.extend(host, tx, known, reservation_id, amount=amount))

        assert self.refused(by, work) == (before.state in (State.SETTLED, State.RELEASED))
        if answers and isinstance(answers[0], Denied):
            assert answers[0].budgets
            assert self._get(reservation_id) == before

    @rule(by=replicas)
    def expire(self, by: int) -> None:
        """Ends exactly those whose time has run out, a moment later."""
        self.clock.advance(timedelta(minutes=1))
        self.write(by, lambda host, tx, known: reserving.expire(host, tx, known, 100))
        now = self.clock.now()
        assert all(one.expires > now for one in self._all() if one.state is State.OPEN)

    @rule(minutes=st.sampled_from([0, 1, 2, 5, 10, 20, 61, 200, 700]))
    def time_passes(self, minutes: int) -> None:
        """Over slots, hours, a day with a change of clocks."""
        self.clock.advance(timedelta(minutes=minutes))

    @rule()
    def crash(self) -> None:
        """Both processes end in the middle of nothing and come back."""
        self.run(self._close())
        self.run(self._open())

    @rule(
        by=replicas,
        scope=st.sampled_from(REDEFINED),
        window=st.sampled_from([DAY, HOUR, Rule()]),
        each=st.sampled_from(["", "team"]),
    )
    def redefine(self, by: int, scope: Labels, window: Rule, each: str) -> None:
        """A budget that changes what it counts has at once what ledger and reservations say."""
        wanted = Budget("fluid", 500, scope=scope, rule=window, each="" if each in scope.values else each)
        self.write(by, partial(self._put, wanted, self.fluid))
        self.fluid = wanted
        self._check(wanted, only_present=True)

    @invariant()
    def the_sums_hold(self) -> None:
        """What is kept is what ledger and reservations say; settlements are the ledger; caps hold but for true overruns."""
        if not self.replicas:
            return
        for budget in BUDGETS:
            self._check(budget, only_present=False)
        if self.fluid is not None:
            self._check(self.fluid, only_present=True)
        ledger = self._rows("SELECT SUM(cost_nanos) AS cost, COUNT(*) AS calls FROM usage")[0]
        assert (ledger["cost"] or 0, ledger["calls"]) == (sum(self.costs.values()), len(self.costs))

    def _check(self, budget: Budget, *, only_present: bool) -> None:
        now = self.clock.now()
        present = budget.rule.window_at(now)
        kept: dict[str, dict[datetime, Account]] = {}
        for row in self._rows("SELECT * FROM budget_account"):
            if row["budget_id"] != budget.budget_id:
                continue
            account = Account(row["spent_nanos"], row["reserved_nanos"])
            if account.taken and (not only_present or present.holds(from_us(row["slot_us"]))):
                kept.setdefault(row["holder"], {})[from_us(row["slot_us"])] = account
        expected = {
            holder: {slot: account for slot, account in slots.items() if not only_present or present.holds(slot)}
            for holder, slots in self._model(budget).items()
        }
        assert kept == {holder: slots for holder, slots in expected.items() if slots}
        if budget.mode is Mode.DENY:
            self._check_cap(budget, kept)

    def _check_cap(self, budget: Budget, kept: dict[str, dict[datetime, Account]]) -> None:
        now = self.clock.now()
        for holder, slots in kept.items():
            windows = [budget.rule.window_at(now)] if budget.rule.rolling else [budget.rule.window_at(slot) for slot in slots]
            for window in windows:
                taken = sum(account.taken for slot, account in slots.items() if window.holds(slot))
                overrun = sum(
                    self.overruns[one.reservation_id]
                    for one in self._all()
                    if one.reservation_id in self.overruns and window.holds(budget.rule.window_at(one.created).booked)
                )
                assert taken <= budget.limit + overrun, (budget.budget_id, holder)

    def _model(self, budget: Budget) -> dict[str, dict[datetime, Account]]:
        """What ledger and open reservations say of a budget, added up here."""
        sums: dict[str, dict[datetime, Account]] = {}

        def add(found: Labels, moment: datetime, spent: int, reserved: int) -> None:
            if budget.scope.covers(found) and spent + reserved:
                slots, slot = sums.setdefault(budget.holder(found), {}), budget.rule.window_at(moment).booked
                before = slots.get(slot, Account())
                slots[slot] = Account(before.spent + spent, before.reserved + reserved)

        for row in self._rows(
            "SELECT usage.*, COALESCE(own.value, '') AS team FROM usage"
            " LEFT JOIN usage_label AS own ON own.usage_id = usage.usage_id AND own.name = 'team'"
        ):
            found = Labels.of(provider=row["provider_id"], model=row["model"], user=row["user_id"], team=row["team"])
            add(found, from_us(row["time_us"]), row["cost_nanos"], 0)
        for one in self._all():
            if one.state is State.OPEN:
                add(one.labels, one.created, 0, one.amount)
        return sums

    @invariant()
    def each_threshold_is_told_once_in_a_window(self) -> None:
        """And every one that is reached in the present window is told."""
        if not self.replicas:
            return
        told: dict[tuple[str, str, int], list[tuple[datetime, datetime]]] = {}
        for row in self._rows("SELECT event FROM outbox ORDER BY seq"):
            event, data = Event.FromString(row["event"]), BudgetThresholdExceeded()
            if event.data.Unpack(data) and data.budget_id != "fluid":
                key = data.budget_id, data.holder, data.threshold
                told.setdefault(key, []).append((data.period_start.ToDatetime(UTC), event.time.ToDatetime(UTC)))
        for (budget_id, _, _), times in told.items():
            rolling = next(one for one in BUDGETS if one.budget_id == budget_id).rule.rolling
            for one, other in itertools.pairwise(sorted(times)):
                assert (other[1] - one[1] > HOUR.length - HOUR.slot_length) if rolling else one[0] != other[0]
        for budget in BUDGETS:
            window = budget.rule.window_at(self.clock.now())
            for holder, slots in self._model(budget).items():
                spent = sum(account.spent for slot, account in slots.items() if window.holds(slot))
                for threshold in budget.thresholds:
                    if spent * 100 >= budget.limit * threshold:
                        assert (budget.budget_id, holder, threshold) in told

    def _get(self, reservation_id: str) -> Reservation:
        return next(one for one in self._all() if one.reservation_id == reservation_id)

    def _all(self) -> list[Reservation]:
        found = self._rows("SELECT * FROM reservation")
        if "reservations" in self.seen:
            return self.seen["reservations"]
        self.seen["reservations"] = [
            Reservation(
                row["reservation_id"],
                from_text(row["labels"]),
                row["amount_nanos"],
                from_us(row["created_us"]),
                from_us(row["expires_us"]),
                state=State(row["state"]),
                ended=None if row["ended_us"] is None else from_us(row["ended_us"]),
                cost=row["cost_nanos"],
            )
            for row in found
        ]
        return self.seen["reservations"]

    def _rows(self, sql: str) -> list[Any]:
        if sql not in self.seen:
            self.seen[sql] = self.reader.execute(sql).fetchall()
        return self.seen[sql]

    async def _close(self) -> None:
        self.reader.close()
        for replica in self.replicas:
            await replica.close()

    def teardown(self) -> None:
        """Closes the files."""
        self.run(self._close())
        self.runner.close()
        self.folder.cleanup()


BudgetMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
TestBudgets = BudgetMachine.TestCase
