"""What a source text defines and imports: tree-sitter grammars and tag queries (tree-sitter's "code navigation" convention)."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import tree_sitter

from services.context import rust_use
from services.context.languages import GRAMMARS, Grammar

_QUERIES = Path(__file__).parent / "queries"
_LONGEST_NAME = 200
# C declares by declarators: a function is the definition that its declarator stands in
_DECLARATORS = {"function_declarator", "pointer_declarator", "reference_declarator", "parenthesized_declarator"}


class Kind(IntEnum):
    """What a symbol is; the numbers are those of the contract's SymbolKind and of the store."""

    OTHER = 0
    CLASS = 1
    FUNCTION = 2
    METHOD = 3
    INTERFACE = 4
    MODULE = 5
    TYPE = 6
    ENUM = 7
    CONSTANT = 8
    FIELD = 9
    MACRO = 10
    HEADING = 11


class State(IntEnum):
    """How well a file was understood; the numbers are those of the contract's ParseState and of the store."""

    PARSED = 1
    NO_GRAMMAR = 2
    SYNTAX_ERRORS = 3
    TRUNCATED = 4
    FAILED = 5


# when two patterns name the same thing, the one that says more about it stands
_SAYS_MORE = (
    Kind.OTHER,
    Kind.CONSTANT,
    Kind.FIELD,
    Kind.TYPE,
    Kind.CLASS,
    Kind.FUNCTION,
    Kind.METHOD,
    Kind.INTERFACE,
    Kind.ENUM,
    Kind.MODULE,
    Kind.MACRO,
    Kind.HEADING,
)
_TYPES = {Kind.CLASS, Kind.INTERFACE, Kind.ENUM}


@dataclass(frozen=True)
class Symbol:
    """A definition: lines count from 1, both included; `parent` joins the names around it with "."."""

    name: str
    kind: Kind
    start_line: int
    end_line: int
    parent: str


@dataclass(frozen=True)
class Import:
    """One imported name as written; `name` is empty when the whole module is meant."""

    module: str
    name: str
    line: int


@dataclass(frozen=True)
class Parsed:
    """What was read from one source text."""

    symbols: tuple[Symbol, ...]
    imports: tuple[Import, ...]
    state: State


@dataclass(frozen=True)
class _Definition:
    start: int
    end: int
    first_line: int
    last_line: int
    name: str
    kind: Kind


def parse(grammar: str, source: bytes, max_symbols: int, max_imports: int) -> Parsed:
    """Symbols and imports of a text in their order; bytes that are no UTF-8 become U+FFFD in names and never fail.

    `grammar` is a key of GRAMMARS. More than `max_symbols` or `max_imports` are cut and the state says so.
    """
    parser, query = _tools(grammar)
    tree = parser.parse(source)
    matches = tree_sitter.QueryCursor(query).matches(tree.root_node)
    symbols = _with_parents(_definitions(matches))
    imports = sorted(dict.fromkeys(_imports(matches)), key=lambda found: found.line)
    state = State.SYNTAX_ERRORS if tree.root_node.has_error else State.PARSED
    if len(symbols) > max_symbols or len(imports) > max_imports:
        state = State.TRUNCATED
    return Parsed(tuple(symbols[:max_symbols]), tuple(imports[:max_imports]), state)


Matches = list[tuple[int, dict[str, list[tree_sitter.Node]]]]


@cache
def _tools(name: str) -> tuple[tree_sitter.Parser, tree_sitter.Query]:
    """Loads a grammar at its first use: each costs memory, and a tree has few languages."""
    grammar = GRAMMARS[name]
    language = tree_sitter.Language(getattr(importlib.import_module(grammar.module), grammar.function)())
    query = tree_sitter.Query(language, query_text(grammar))
    source = query_text(grammar).encode()
    for pattern in range(query.pattern_count):
        text = source[query.start_byte_for_pattern(pattern) : query.end_byte_for_pattern(pattern)]
        if b"@definition." not in text and b"@import." not in text:
            query.disable_pattern(pattern)
    return tree_sitter.Parser(language), query


def query_text(grammar: Grammar) -> str:
    """The wheels' tags.scm and our own queries as one text."""
    site = Path(importlib.import_module(grammar.module).__file__ or "").parent.parent
    tags = [site / package / "queries" / "tags.scm" for package in grammar.tags]
    return "\n".join(path.read_text() for path in (*tags, *(_QUERIES / f"{own}.scm" for own in grammar.queries)))


def _definitions(matches: Matches) -> list[_Definition]:
    found: dict[tuple[int, int], _Definition] = {}
    for _, captures in matches:
        label = next((label for label in captures if label.startswith("definition.")), "")
        if not label or "name" not in captures:
            continue
        name, node = captures["name"][0], _whole(captures[label][0])
        definition = _Definition(
            node.start_byte,
            node.end_byte,
            node.start_point.row + 1,
            node.end_point.row + (1 if node.end_point.column else 0) or 1,
            _text(name),
            _kind(label),
        )
        key = (name.start_byte, name.end_byte)
        if key not in found or _SAYS_MORE.index(definition.kind) > _SAYS_MORE.index(found[key].kind):
            found[key] = definition
    return sorted(found.values(), key=lambda each: (each.start, -each.end))


def _whole(node: tree_sitter.Node) -> tree_sitter.Node:
    """The function definition around a C declarator; any other node as it is."""
    outer = node
    while outer.type in _DECLARATORS and outer.parent is not None:
        outer = outer.parent
    return outer if outer.type == "function_definition" else node


def _kind(label: str) -> Kind:
    return Kind.__members__.get(label.removeprefix("definition.").upper(), Kind.OTHER)


def _with_parents(definitions: list[_Definition]) -> list[Symbol]:
    """Nests definitions by their ranges: a function directly inside a type is a method of it."""
    symbols: list[Symbol] = []
    around: list[_Definition] = []
    for definition in definitions:
        while around and around[-1].end <= definition.start:
            around.pop()
        method = definition.kind is Kind.FUNCTION and bool(around) and around[-1].kind in _TYPES
        parent = ".".join(outer.name for outer in around)[-_LONGEST_NAME:]
        kind = Kind.METHOD if method else definition.kind
        symbols.append(Symbol(definition.name, kind, definition.first_line, definition.last_line, parent))
        around.append(definition)
    return symbols


def _imports(matches: Matches) -> Iterator[Import]:
    for _, captures in matches:
        for node in captures.get("import.use", ()):
            for module in rust_use.expand(_text(node, longest=None)):
                yield Import(module[:_LONGEST_NAME], "", node.start_point.row + 1)
        for node in captures.get("import.mod", ()):
            yield Import("self", _text(node), node.start_point.row + 1)
        for node in captures.get("import.module", ()):
            name = captures.get("import.name", [])
            yield Import(_unquoted(_text(node)), _text(name[0]) if name else "", node.start_point.row + 1)


def _text(node: tree_sitter.Node, longest: int | None = _LONGEST_NAME) -> str:
    # PostgreSQL's text holds no NUL
    text = (node.text or b"").decode("utf-8", "replace").replace("\0", "�").strip()
    return text[:longest]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
