"""DAGs: what each node waits for, and everything that can be wrong with one."""

import pytest
from hypothesis import given

from services.orchestration.dag import Dag, Node, problems
from tests.unit.orchestration.dags import dags


def _fields(dag: Dag) -> list[str]:
    return [problem.field for problem in problems(dag)]


def test_a_reference_is_a_dependency() -> None:
    """Who uses an answer waits for it, whether or not it says so in depends_on."""
    dag = Dag((Node("a", "x.Y/Z"), Node("b", "x.Y/Z", {"deep": [{"id": "${nodes.a.output.id}"}]}), Node("c", "x.Y/Z", {}, ("b",))))
    assert dag.dependencies == {"a": frozenset(), "b": {"a"}, "c": {"b"}}
    assert dag.dependents["a"] == {"b", "c"}
    assert problems(dag) == []


@pytest.mark.parametrize(
    ("nodes", "field"),
    [
        ([Node("a", "x"), Node("a", "x")], "nodes[1].id"),
        ([Node("a", "x", {}, ("gone",))], "nodes[0].depends_on[0]"),
        ([Node("a", "x", {"v": "${nodes.gone.output.v}"})], "nodes[0].input"),
        ([Node("a", "x", {"v": "${nodes.a}"})], "nodes[0].input"),
        ([Node("a", "x", {}, ("a",))], "nodes"),
        ([Node("a", "x", {}, ("b",)), Node("b", "x", {"v": "${nodes.a.output}"})], "nodes"),
    ],
    ids=["repeated id", "dangling dependency", "dangling reference", "malformed reference", "itself", "cycle"],
)
def test_faults_are_named_by_their_field(nodes: list[Node], field: str) -> None:
    """Each fault of a DAG is told with the field that has it."""
    assert _fields(Dag(tuple(nodes))) == [field]


def test_a_cycle_is_spelt_out() -> None:
    """The message names the nodes that wait for each other, in order."""
    dag = Dag((Node("a", "x", {}, ("c",)), Node("b", "x", {}, ("a",)), Node("c", "x", {}, ("b",))))
    (problem,) = problems(dag)
    path = problem.description.split(": ")[1].split(" -> ")
    assert path[0] == path[-1]
    assert set(path) == {"a", "b", "c"}


@given(dags())
def test_order_and_dependents_agree_with_dependencies(dag: Dag) -> None:
    """In the order, every node comes after what it waits for; dependents are the closure of dependencies."""
    assert problems(dag) == []
    place = {name: index for index, name in enumerate(dag.order)}
    for name, waits_for in dag.dependencies.items():
        assert all(place[other] < place[name] for other in waits_for)
        for other in waits_for:
            assert name in dag.dependents[other]
            assert dag.dependents[name] < dag.dependents[other]


def test_every_fault_is_told_at_once() -> None:
    """A dangling dependency does not hide a cycle elsewhere."""
    nodes = (Node("a", "x", {}, ("b",)), Node("b", "x", {}, ("a",)), Node("c", "x", {}, ("gone",)))
    assert _fields(Dag(nodes)) == ["nodes[2].depends_on[0]", "nodes"]
