"""PageRank over import graphs."""

import math

from hypothesis import given
from hypothesis import strategies as st

from services.context.centrality import DAMPING, Central, most_central, page_rank

graphs = st.integers(1, 12).flatmap(
    lambda nodes: st.tuples(st.just(nodes), st.sets(st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))))
)


@given(graphs)
def test_ranks_add_up_to_one(graph: tuple[int, set[tuple[int, int]]]) -> None:
    """Whatever imports what, also in circles and with files alone, the ranks are shares of one whole."""
    nodes, edges = graph
    assert math.isclose(sum(page_rank(nodes, sorted(edges))), 1, abs_tol=1e-6)


@given(graphs)
def test_ranks_solve_the_equation(graph: tuple[int, set[tuple[int, int]]]) -> None:
    """Each rank is what the equation of the paper gives from the others; files without imports share with all."""
    nodes, edges = graph
    ranks = page_rank(nodes, sorted(edges))
    out = [sum(source == node for source, _ in edges) for node in range(nodes)]
    dangling = sum(rank for rank, count in zip(ranks, out, strict=True) if not count) / nodes
    for node in range(nodes):
        given_to = sum(ranks[source] / out[source] for source, target in edges if target == node)
        assert math.isclose(ranks[node], (1 - DAMPING) / nodes + DAMPING * (given_to + dangling), abs_tol=1e-5)


def test_the_file_that_all_import_is_first() -> None:
    """Files that nothing imports are not called central."""
    found = most_central(["a", "b", "c", "d"], [(0, 2), (1, 2), (3, 1)], 10)
    assert [(each.path, each.imported_by) for each in found] == [("c", 2), ("b", 1)]
    assert most_central(["a", "b", "c", "d"], [(0, 2), (1, 2), (3, 1)], 1) == found[:1]
    assert isinstance(found[0], Central)


def test_no_files_have_no_ranks() -> None:
    """An empty tree is a tree."""
    assert page_rank(0, []) == []
