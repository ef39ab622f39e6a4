"""Strategies that draw DAGs for the property tests."""

from hypothesis import strategies as st

from services.orchestration.dag import Dag, Node


@st.composite
def dags(draw: st.DrawFn, max_nodes: int = 8) -> Dag:
    """Any DAG: each node may wait for any of those before it; the nodes are given in any order."""
    size = draw(st.integers(1, max_nodes))
    nodes = []
    for index in range(size):
        waits_for = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        # half of the dependencies are stated, half follow from a reference
        stated = {number for number in waits_for if number % 2}
        given = {f"of{number}": f"${{nodes.n{number}.output.value}}" for number in sorted(waits_for - stated)}
        nodes.append(Node(f"n{index}", "x.Y/Z", given, tuple(f"n{number}" for number in sorted(stated))))
    return Dag(tuple(draw(st.permutations(nodes))))
