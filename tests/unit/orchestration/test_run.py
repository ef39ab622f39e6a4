"""Runs: a fold over facts that no crash, order or failure can bring out of step."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestration import run as runs
from services.orchestration.dag import Dag, Node
from services.orchestration.records import fact_from_text, fact_to_text
from services.orchestration.run import (
    AttemptFailed,
    Failure,
    IllegalFact,
    NodeFailed,
    NodeStarted,
    NodeStatus,
    NodeSucceeded,
    RunStatus,
)
from tests.unit.orchestration.dags import dags

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEVER: frozenset[int] = frozenset()
FAILURE = Failure("INTERNAL", "", "broken")
DIAMOND = Dag((Node("a", "x"), Node("b", "x", {}, ("a",)), Node("c", "x", {}, ("a",)), Node("d", "x", {}, ("b", "c"))))


@dataclass
class World:
    """The services that a run calls: what each node's attempts come to, and how often each was applied."""

    outcomes: Mapping[str, list[bool]]
    calls: dict[str, int]
    attempts: dict[str, int]

    def answer(self, node: str) -> runs.NodeFact:
        """What comes of the next attempt of a node."""
        tries = self.outcomes[node]
        failed = self.attempts.get(node, 0)
        self.calls[node] = self.calls.get(node, 0) + 1
        if failed < len(tries) and not tries[failed]:
            if failed == len(tries) - 1:
                return NodeFailed(node, NOW, FAILURE)
            return AttemptFailed(node, NOW, FAILURE, NOW)
        return NodeSucceeded(node, NOW, {"of": node})

    def noted(self, fact: runs.Fact) -> None:
        """An outcome is on disk."""
        if isinstance(fact, AttemptFailed | NodeFailed):
            self.attempts[fact.node] = self.attempts.get(fact.node, 0) + 1


def drive(dag: Dag, world: World, facts: list[runs.Fact], draw: st.DataObject, crashes: frozenset[int]) -> runs.Run:
    """Drives a run as the engine does; at a crash everything but the facts is forgotten."""
    state = runs.replay(dag, facts)
    flying: list[str] = []
    for step in count():
        if state.ended:
            break
        for name in [name for name in runs.interrupted(state) if name not in flying] + runs.ready(state, NOW):
            assert all(state.nodes[other].status is NodeStatus.SUCCEEDED for other in dag.dependencies[name])
            assert name not in flying
            facts.append(NodeStarted(name, NOW))
            state = runs.apply(state, facts[-1])
            flying.append(name)
        if step in crashes:
            # calls on the way may have been applied, but nothing of them is known
            state, flying = runs.replay(dag, [fact_from_text(fact_to_text(fact)) for fact in facts]), []
            continue
        landed = flying.pop(draw.draw(st.integers(0, len(flying) - 1)))
        facts.append(world.answer(landed))
        world.noted(facts[-1])
        state = runs.apply(state, facts[-1])
    return state


def _summary(state: runs.Run) -> tuple[RunStatus, dict[str, tuple[NodeStatus, int]]]:
    return state.status, {name: (progress.status, progress.failures) for name, progress in state.nodes.items()}


@given(st.data())
def test_a_crash_anywhere_ends_in_the_same_state(data: st.DataObject) -> None:
    """Whatever crashes when: nodes, failures and the run end as without a crash, and no finished node starts again."""
    dag = data.draw(dags())
    outcomes = {node.id: data.draw(st.lists(st.booleans(), max_size=3)) for node in dag.nodes}
    facts: list[runs.Fact] = []
    with_crashes = drive(dag, World(outcomes, {}, {}), facts, data, data.draw(st.frozensets(st.integers(0, 20), max_size=6)))
    without = drive(dag, World(outcomes, {}, {}), [], data, NEVER)
    assert _summary(with_crashes) == _summary(without)
    finished: set[str] = set()
    for fact in facts:
        if isinstance(fact, NodeStarted):
            assert fact.node not in finished
        elif isinstance(fact, NodeSucceeded | NodeFailed):
            finished.add(fact.node)


@given(st.data())
def test_every_node_is_called_once_per_attempt(data: st.DataObject) -> None:
    """Without a crash, a node is called as often as it failed plus the time it succeeded, and not at all when it is skipped."""
    dag = data.draw(dags())
    world = World({node.id: data.draw(st.lists(st.booleans(), max_size=3)) for node in dag.nodes}, {}, {})
    state = drive(dag, world, [], data, NEVER)
    for name, progress in state.nodes.items():
        assert world.calls.get(name, 0) == progress.starts == progress.failures + (progress.status is NodeStatus.SUCCEEDED)


@given(st.data())
def test_facts_survive_the_disk(data: st.DataObject) -> None:
    """The text form of any history gives the same state back."""
    dag = data.draw(dags(max_nodes=5))
    facts: list[runs.Fact] = []
    state = drive(
        dag, World({node.id: data.draw(st.lists(st.booleans(), max_size=2)) for node in dag.nodes}, {}, {}), facts, data, NEVER
    )
    read_back = [fact_from_text(fact_to_text(fact)) for fact in facts]
    assert read_back == facts
    assert runs.replay(dag, read_back) == state


@given(st.data())
def test_a_retry_keeps_what_succeeded_and_runs_the_rest(data: st.DataObject) -> None:
    """From wherever a run ended: what is kept had succeeded, needs nothing that runs again, and the rest is driven to its end."""
    dag = data.draw(dags())
    world = World({node.id: data.draw(st.lists(st.booleans(), max_size=3)) for node in dag.nodes}, {}, {})
    ended = drive(dag, world, [], data, NEVER)
    node = data.draw(st.sampled_from(["", *(each.id for each in dag.nodes)]))
    kept = runs.kept_by_retry(ended, node)
    assert node not in kept
    assert all(ended.nodes[name].status is NodeStatus.SUCCEEDED and dag.dependencies[name] <= kept for name in kept)
    facts = runs.facts_to_keep(ended, kept)
    begun = runs.replay(dag, facts)
    assert {name for name, progress in begun.nodes.items() if progress.status is NodeStatus.SUCCEEDED} == kept
    assert {name: begun.nodes[name].output for name in kept} == {name: ended.nodes[name].output for name in kept}
    well = World({each.id: [] for each in dag.nodes}, {}, {})
    again = drive(dag, well, facts, data, NEVER)
    assert again.status is RunStatus.SUCCEEDED
    assert set(well.calls) == {each.id for each in dag.nodes} - kept


def test_a_retry_of_a_run_during_which_the_clock_was_set_back() -> None:
    """What is kept comes in the order of the DAG, whatever its times say."""
    before = NOW - timedelta(hours=1)
    facts: list[runs.Fact] = [
        NodeStarted("a", NOW),
        NodeSucceeded("a", NOW, {}),
        NodeStarted("b", before),
        NodeSucceeded("b", before, {}),
    ]
    state = _after(*facts)
    assert runs.replay(DIAMOND, runs.facts_to_keep(state, runs.kept_by_retry(state))) == state


def _after(*facts: runs.Fact) -> runs.Run:
    return runs.replay(DIAMOND, facts)


def test_branches_run_side_by_side() -> None:
    """What waits for the same node is ready at the same time; what waits for both is not."""
    state = _after(NodeStarted("a", NOW), NodeSucceeded("a", NOW, {}))
    assert runs.ready(state, NOW) == ["b", "c"]


def test_a_failure_skips_what_waits_for_it_only() -> None:
    """The other branch goes on; the run fails when it has ended, with the node's reason."""
    start: list[runs.Fact] = [NodeStarted("a", NOW), NodeSucceeded("a", NOW, {}), NodeStarted("b", NOW), NodeStarted("c", NOW)]
    state = _after(*start, NodeFailed("b", NOW, FAILURE))
    assert state.nodes["d"].status is NodeStatus.SKIPPED
    assert state.status is RunStatus.RUNNING
    state = runs.apply(state, NodeSucceeded("c", NOW, {}))
    assert state.status is RunStatus.FAILED
    assert state.reason == "node b failed: INTERNAL broken"


def test_a_second_attempt_waits_for_its_time() -> None:
    """A refused node is ready again at retry_at, not before; its failure is forgotten when it succeeds."""
    later = NOW + timedelta(seconds=5)
    state = _after(NodeStarted("a", NOW), AttemptFailed("a", NOW, FAILURE, later))
    assert runs.ready(state, NOW) == []
    assert runs.next_retry(state) == later
    assert runs.ready(state, later) == ["a"]
    state = runs.apply(runs.apply(state, NodeStarted("a", later)), NodeSucceeded("a", later, {}))
    assert (state.nodes["a"].starts, state.nodes["a"].failures, state.nodes["a"].failure) == (2, 1, None)


def test_cancelling_ends_everything_that_has_not_ended() -> None:
    """Finished nodes keep their state, the rest are cancelled, and nothing is ready any more."""
    state = _after(NodeStarted("a", NOW), NodeSucceeded("a", NOW, {}), NodeStarted("b", NOW), runs.RunCancelled(NOW, "enough"))
    assert [state.nodes[name].status for name in "abcd"] == [NodeStatus.SUCCEEDED, *[NodeStatus.CANCELLED] * 3]
    assert (state.status, state.reason) == (RunStatus.CANCELLED, "enough")
    assert runs.ready(state, NOW) == []


@pytest.mark.parametrize(
    "facts",
    [
        [NodeSucceeded("a", NOW, {})],
        [NodeStarted("b", NOW)],
        [NodeStarted("a", NOW), NodeSucceeded("a", NOW, {}), NodeSucceeded("a", NOW, {})],
        [NodeStarted("a", NOW), NodeSucceeded("a", NOW, {}), NodeStarted("a", NOW)],
        [runs.RunCancelled(NOW, ""), NodeStarted("a", NOW)],
    ],
    ids=["not started", "blocked", "twice", "started again", "after the end"],
)
def test_facts_that_cannot_follow_are_refused(facts: list[runs.Fact]) -> None:
    """Two owners of one run would write such facts; they must not pass unseen."""
    with pytest.raises(IllegalFact):
        _after(*facts)
