"""Which files the others lean on: PageRank over the import graph (Brin and Page, 1998)."""

from collections.abc import Sequence
from dataclasses import dataclass

import rustworkx

DAMPING = 0.85


@dataclass(frozen=True)
class Central:
    """A file with its rank, and how many files import it."""

    path: str
    rank: float
    imported_by: int


def page_rank(nodes: int, edges: Sequence[tuple[int, int]]) -> list[float]:
    """The rank of each node 0..nodes-1, adding up to 1; an edge (a, b) gives of a's rank to b. [] for no nodes."""
    graph = rustworkx.PyDiGraph(multigraph=False)
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from_no_data(list(edges))
    ranks = rustworkx.pagerank(graph, alpha=DAMPING) if nodes else {}
    return [ranks[node] for node in range(nodes)]


def most_central(paths: Sequence[str], edges: Sequence[tuple[int, int]], most: int) -> list[Central]:
    """The files that at least one other imports, highest rank first; `edges` are distinct pairs of places in `paths`."""
    imported_by = [0] * len(paths)
    for _, target in edges:
        imported_by[target] += 1
    ranks = page_rank(len(paths), edges)
    found = [Central(path, rank, count) for path, rank, count in zip(paths, ranks, imported_by, strict=True) if count]
    return sorted(found, key=lambda each: (-each.rank, each.path))[:most]
