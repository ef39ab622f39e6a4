"""Budgets: what they let through, when waiting helps, thresholds told once; and the index that finds them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.provider import budget
from services.provider.budget import Account, Budget, Index, Mode, Standing
from services.provider.labels import Labels
from services.provider.windows import Kind, Rule, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
JANUARY = Window(START, datetime(2026, 2, 1, tzinfo=UTC))
labels = st.dictionaries(st.sampled_from(["provider", "model", "user", "team", "key"]), st.sampled_from("abc")).map(Labels.of)


@given(
    st.lists(st.integers(0, 400), max_size=30),
    st.lists(st.integers(1, 200), min_size=1, max_size=6, unique=True),
    st.integers(1, 1000),
    st.data(),
)
def test_each_threshold_is_told_exactly_once_whatever_the_steps(
    costs: list[int], thresholds: list[int], limit: int, data: st.DataObject
) -> None:
    """For any sequence of charges, forgetful restarts in between included: told = reached, each once, ascending within a charge."""
    one = Budget("b", limit, thresholds=tuple(sorted(thresholds)))
    spent, noted, heard = 0, set[int](), list[int]()
    for cost in costs:
        spent += cost
        new = budget.newly_reached(one, spent, frozenset(noted))
        assert new == sorted(new)
        noted.update(new)
        heard += new
        if data.draw(st.booleans()):
            noted = set(noted)  # what survives a restart is what was noted
    assert sorted(heard) == [percent for percent in one.thresholds if spent * 100 >= limit * percent]


@given(st.integers(1, 10**18), st.integers(0, 10**18), st.integers(1, 1000))
def test_reaching_is_exact_in_integers(limit: int, spent: int, percent: int) -> None:
    """One nano unit decides, also where floating point would round."""
    least = -(-limit * percent // 100)
    assert budget.reached(limit, spent, percent) == (spent >= least)


@given(st.integers(1, 1000), st.integers(0, 2000), st.integers(0, 1000))
def test_a_denying_budget_lets_nothing_pass_its_limit(limit: int, spent: int, cost: int) -> None:
    """What it allows never takes it over its limit, and once spent it allows nothing, not even what is free."""
    standing = Standing(Budget("b", limit, mode=Mode.DENY), JANUARY, spent)
    assert standing.allows(cost) == (spent < limit and spent + cost <= limit)
    assert standing.remaining == max(limit - spent, 0)
    assert Standing(Budget("b", limit), JANUARY, spent).allows(cost)


def test_pressure_grows_with_the_threshold() -> None:
    """Below `tight_from` nothing changes; from there cost counts `factor` times, from 100 % its square."""
    steps = [budget.cost_pressure(percent, tight_from=80, factor=2.0) for percent in (0, 79, 80, 99, 100, 150)]
    assert steps == [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]


@given(
    st.sampled_from([Mode.DENY, Mode.DEGRADE]), st.integers(1, 100), st.integers(0, 150), st.integers(0, 150), st.integers(0, 120)
)
def test_what_is_reserved_counts_and_the_most_that_fits_is_right(
    mode: Mode, limit: int, spent: int, reserved: int, cost: int
) -> None:
    """`most` is exactly the dearest call that is let through; mode DEGRADE always lets through what is free."""
    standing = Standing(Budget("b", limit, mode=mode), JANUARY, spent, reserved=reserved)
    assert standing.allows(cost) == (standing.most is not None and cost <= standing.most)
    if standing.allows(cost) and cost:
        assert spent + reserved + cost <= limit
    if mode is Mode.DEGRADE:
        assert standing.allows(0)


@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 50)), max_size=12), st.integers(1, 120), st.integers(0, 120))
def test_a_rolling_budget_says_exactly_when_enough_has_rolled_out(parts: list[tuple[int, int]], limit: int, cost: int) -> None:
    """At the moment it names the call fits, one microsecond before it does not; none when it never will."""
    rule = Rule(Kind.ROLLING, length=timedelta(minutes=60))
    slots: dict[datetime, Account] = {}
    for minute, spent in parts:
        slot = START + timedelta(minutes=minute)
        slots[slot] = Account(slots.get(slot, Account()).spent + spent)
    one = Budget("b", limit, rule=rule, mode=Mode.DENY)
    now = START + timedelta(minutes=59, seconds=30)

    def at(moment: datetime) -> Standing:
        window = rule.window_at(moment)
        inside = {slot: account for slot, account in slots.items() if window.holds(slot)}
        return Standing(one, window, sum(account.spent for account in inside.values()), slots=inside)

    if at(now).allows(cost):
        return
    wait = at(now).frees(cost, now)
    assert (wait is None) == (cost > limit)
    if wait is not None:
        assert at(now + wait).allows(cost)
        assert not at(now + wait - timedelta(microseconds=1)).allows(cost)


def test_when_waiting_helps() -> None:
    """A calendar's budget frees at its end, a lifetime's never, and none frees for a call dearer than its limit."""
    spent = Standing(Budget("b", 10, mode=Mode.DENY), JANUARY, 10)
    assert spent.frees(5, START) == timedelta(days=31)
    assert spent.frees(11, START) is None
    forever = Rule(Kind.LIFETIME)
    assert Standing(Budget("b", 10, rule=forever, mode=Mode.DENY), forever.window_at(START), 10).frees(5, START) is None


@given(st.lists(labels, max_size=12), labels)
def test_the_index_finds_exactly_what_covers(scopes: list[Labels], usage: Labels) -> None:
    """The same, in the order of ids, as looking at every one; and those that some provider and model would make cover."""
    index = Index([Budget(f"b{number:02}", 1, scope=scope) for number, scope in enumerate(scopes)])
    assert [one.budget_id for one in index.covering(usage)] == [f"b{n:02}" for n, scope in enumerate(scopes) if scope.covers(usage)]
    possible = [
        f"b{n:02}"
        for n, scope in enumerate(scopes)
        if scope.covers(usage.plus(provider=scope.provider_id or usage.provider_id, model=scope.model or usage.model))
    ]
    assert [one.budget_id for one in index.touching(usage)] == possible


def test_each_value_of_a_label_has_its_own_share() -> None:
    """Also one that is seen for the first time; usage without the label shares one."""
    one = Budget("b", 10, each="user")
    assert [one.holder(Labels.of(user=user)) for user in ("ada", "never-seen", "")] == ["ada", "never-seen", ""]
    assert Budget("b", 10).holder(Labels.of(user="ada")) == ""
