"""The rules of a DAG: its nodes, what each waits for, and everything that can be wrong with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from services.orchestration import reference


@dataclass(frozen=True)
class RetryRule:
    """When a failed attempt is made again; `codes` are names of gRPC codes tried again beside the usual ones."""

    max_attempts: int = 3
    backoff: timedelta = timedelta(milliseconds=200)
    codes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Node:
    """One call: `call` is the full name of an RPC, `input` its request as JSON with references."""

    id: str
    call: str
    input: Mapping[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    timeout: timedelta = timedelta(seconds=30)
    retry: RetryRule = RetryRule()


@dataclass(frozen=True)
class Problem:
    """Something wrong with a DAG: the field, as a path from the DAG, and what to do."""

    field: str
    description: str


@dataclass(frozen=True)
class Dag:
    """Nodes in the order they were given. Only what problems() finds nothing against may be run."""

    nodes: tuple[Node, ...]

    @cached_property
    def by_id(self) -> dict[str, Node]:
        """Nodes by their ids."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def dependencies(self) -> dict[str, frozenset[str]]:
        """What each node waits for: its depends_on and the nodes that its references name."""
        return {node.id: frozenset(node.depends_on) | referenced_nodes(node) for node in self.nodes}

    @cached_property
    def dependents(self) -> dict[str, frozenset[str]]:
        """Everything that waits for a node, directly or through others."""
        found: dict[str, frozenset[str]] = {}
        for node_id in reversed(self.order):
            direct = [other for other, waits_for in self.dependencies.items() if node_id in waits_for]
            found[node_id] = frozenset(direct).union(*(found[other] for other in direct))
        return found

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Ids so that every node comes after what it waits for."""
        return tuple(TopologicalSorter(self.dependencies).static_order())


def referenced_nodes(node: Node) -> frozenset[str]:
    """Ids of the nodes whose output a node's input refers to; malformed references are left to problems()."""
    try:
        return frozenset(str(found.path[1]) for found in reference.find(node.input) if found.path[0] == "nodes")
    except reference.MalformedReference:
        return frozenset()


def problems(dag: Dag) -> list[Problem]:
    """Everything wrong with the shape of a DAG: repeated ids, bad references, dangling dependencies, cycles."""
    return [*_repeated_ids(dag), *_bad_references(dag), *_dangling(dag), *_cycles(dag)]


def _repeated_ids(dag: Dag) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, node in enumerate(dag.nodes):
        if node.id in seen:
            yield Problem(f"nodes[{index}].id", f"another node is named {node.id!r} already")
        seen.add(node.id)


def _bad_references(dag: Dag) -> Iterator[Problem]:
    for index, node in enumerate(dag.nodes):
        try:
            reference.find(node.input)
        except reference.MalformedReference as error:
            yield Problem(f"nodes[{index}].input", str(error))


def _dangling(dag: Dag) -> Iterator[Problem]:
    for index, node in enumerate(dag.nodes):
        for place, name in enumerate(node.depends_on):
            if name not in dag.by_id:
                yield Problem(f"nodes[{index}].depends_on[{place}]", f"there is no node {name!r}")
        for name in sorted(referenced_nodes(node) - dag.by_id.keys()):
            yield Problem(f"nodes[{index}].input", f"it refers to node {name!r}, which does not exist")


def _cycles(dag: Dag) -> Iterator[Problem]:
    try:
        TopologicalSorter(dag.dependencies).prepare()
    except CycleError as error:
        path = " -> ".join(reversed(error.args[1]))
        yield Problem("nodes", f"these nodes wait for each other: {path}")
