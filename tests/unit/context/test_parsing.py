"""What source texts define and import, per language, and for Python against Python's own parser."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.context.languages import GRAMMARS
from services.context.parsing import Import, Kind, Parsed, State, parse

ROOT = Path(__file__).resolve().parents[3]
OURS = sorted(path for folder in ("services/context", "mesh", "bus", "envoy") for path in (ROOT / folder).rglob("*.py"))


def _parse(grammar: str, source: str | bytes) -> Parsed:
    return parse(grammar, source.encode() if isinstance(source, str) else source, 5000, 5000)


def _names(grammar: str, source: str) -> list[tuple[str, Kind, str]]:
    return [(symbol.name, symbol.kind, symbol.parent) for symbol in _parse(grammar, source).symbols]


def _imports(grammar: str, source: str) -> list[tuple[str, str]]:
    return [(each.module, each.name) for each in _parse(grammar, source).imports]


SYMBOLS = [
    ("python", "class A:\n  def f(self):\n    def g(): ...\nK: int = 1\n",
     [("A", Kind.CLASS, ""), ("f", Kind.METHOD, "A"), ("g", Kind.FUNCTION, "A.f"), ("K", Kind.CONSTANT, "")]),
    ("javascript", "class A { m() {} }\nconst f = () => 1;\n",
     [("A", Kind.CLASS, ""), ("m", Kind.METHOD, "A"), ("f", Kind.FUNCTION, "")]),
    ("typescript", "interface I { f(): void }\ntype T = number\nenum E { A }\nexport class C {}\n",
     [("I", Kind.INTERFACE, ""), ("f", Kind.METHOD, "I"), ("T", Kind.TYPE, ""), ("E", Kind.ENUM, ""), ("C", Kind.CLASS, "")]),
    ("tsx", "function V() { return <p/> }\n", [("V", Kind.FUNCTION, "")]),
    ("go", "package a\ntype S struct {}\ntype I interface {}\nfunc (s *S) M() {}\nfunc F() {}\nconst C = 1\n",
     [("S", Kind.CLASS, ""), ("I", Kind.INTERFACE, ""), ("M", Kind.METHOD, ""), ("F", Kind.FUNCTION, ""),
      ("C", Kind.CONSTANT, "")]),
    ("rust", "struct S;\nimpl S { fn m(&self) {} }\nenum E { A }\ntrait T {}\nfn f() {}\n",
     [("S", Kind.CLASS, ""), ("m", Kind.METHOD, ""), ("E", Kind.ENUM, ""), ("T", Kind.INTERFACE, ""), ("f", Kind.FUNCTION, "")]),
    ("java", "class A { A() {} void m() {} }\nrecord R(int x) {}\nenum E {}\n",
     [("A", Kind.CLASS, ""), ("A", Kind.METHOD, "A"), ("m", Kind.METHOD, "A"), ("R", Kind.CLASS, ""), ("E", Kind.ENUM, "")]),
    ("c", "#define X 1\nint *f(int a)\n{\n  return 0;\n}\nstruct s { int a; };\ntypedef int T;\n",
     [("X", Kind.MACRO, ""), ("f", Kind.FUNCTION, ""), ("s", Kind.CLASS, ""), ("T", Kind.TYPE, "")]),
    ("cpp", "namespace n { class A { void m(); }; }\n",
     [("n", Kind.MODULE, ""), ("A", Kind.CLASS, "n"), ("m", Kind.METHOD, "n.A")]),
    ("ruby", "module M\n  class A\n    def m; end\n  end\nend\n",
     [("M", Kind.MODULE, ""), ("A", Kind.CLASS, "M"), ("m", Kind.METHOD, "M.A")]),
    ("php", "<?php\nclass X { function f() {} }\n", [("X", Kind.CLASS, ""), ("f", Kind.METHOD, "X")]),
    ("csharp", "namespace N { class A { int P {get;} void M() {} } }\n",
     [("N", Kind.MODULE, ""), ("A", Kind.CLASS, "N"), ("P", Kind.FIELD, "N.A"), ("M", Kind.METHOD, "N.A")]),
    ("bash", "f() { echo; }\n", [("f", Kind.FUNCTION, "")]),
    ("markdown", "# A\ntext\n## B\nmore\n", [("A", Kind.HEADING, ""), ("B", Kind.HEADING, "A")]),
]  # fmt: skip
IMPORTS = [
    ("python", "import a.b as c, d\nfrom ..x import y as z, w\nfrom q import *\n",
     [("a.b", ""), ("d", ""), ("..x", "y"), ("..x", "w"), ("q", "*")]),
    ("javascript", "import x from './x'\nexport * from './y'\nconst z = require('z'); import('./w')\n",
     [("./x", ""), ("./y", ""), ("z", ""), ("./w", "")]),
    ("typescript", "import type { T } from './t'\n", [("./t", "")]),
    ("tsx", "import V from './v'\n", [("./v", "")]),
    ("go", 'package a\nimport (\n"fmt"\nx "m/y"\n)\n', [("fmt", ""), ("m/y", "")]),
    ("rust", "mod foo;\nuse a::{b, c::{d, self}};\n", [("self", "foo"), ("a::b", ""), ("a::c::d", ""), ("a::c", "")]),
    ("java", "import a.b.C;\nimport static a.D.x;\n", [("a.b.C", ""), ("a.D.x", "")]),
    ("c", '#include "a.h"\n#include <b.h>\n', [("a.h", ""), ("<b.h>", "")]),
    ("cpp", '#include "a.hpp"\n', [("a.hpp", "")]),
    ("ruby", "require_relative 'a'\nrequire 'b'\n", [("a", "require_relative"), ("b", "require")]),
    ("php", "<?php\nuse A\\B;\n", [("A\\B", "")]),
    ("csharp", "using System.Text;\n", [("System.Text", "")]),
    ("bash", "source ./a.sh\n", [("./a.sh", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("grammar", "source", "expected"), SYMBOLS, ids=[case[0] for case in SYMBOLS])
def test_symbols(grammar: str, source: str, expected: list[tuple[str, Kind, str]]) -> None:
    """Definitions come in their order with kind and what is around them."""
    assert _names(grammar, source) == expected


@pytest.mark.parametrize(("grammar", "source", "expected"), IMPORTS, ids=[case[0] for case in IMPORTS])
def test_imports(grammar: str, source: str, expected: list[tuple[str, str]]) -> None:
    """Imports come in their order, one for each imported name."""
    assert _imports(grammar, source) == expected


def test_every_grammar_has_a_case() -> None:
    """A grammar whose queries no test reads could be broken by its wheel's next version."""
    assert {case[0] for case in SYMBOLS} == set(GRAMMARS)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_symbols_are_those_of_ast(path: Path) -> None:
    """Every class and function that Python's own parser finds is found, with its line, and no other."""
    source = path.read_bytes()
    defined = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    expected = {(node.name, node.lineno) for node in ast.walk(ast.parse(source)) if isinstance(node, defined)}
    kinds = {Kind.CLASS, Kind.FUNCTION, Kind.METHOD}
    found = {(symbol.name, symbol.start_line) for symbol in _parse("python", source).symbols if symbol.kind in kinds}
    assert found == expected


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_imports_are_those_of_ast(path: Path) -> None:
    """Every imported module and name that Python's own parser finds is found."""
    expected = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            expected |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            expected |= {("." * node.level + (node.module or ""), alias.name) for alias in node.names}
    assert {(each.module, each.name) for each in _parse("python", path.read_bytes()).imports} == expected


def test_lines_and_cuts() -> None:
    """Lines count from 1 with both ends included; more symbols than wanted are cut, and the state says so."""
    source = b"def f():\n    pass\n\n\ndef g():\n    pass\n"
    whole = parse("python", source, 5, 5)
    assert [(symbol.start_line, symbol.end_line) for symbol in whole.symbols] == [(1, 2), (5, 6)]
    cut = parse("python", source, 1, 5)
    assert (len(cut.symbols), cut.state) == (1, State.TRUNCATED)


def test_broken_text_keeps_what_is_whole() -> None:
    """A text in the middle of being edited gives the definitions around the broken place."""
    parsed = _parse("python", "def f():\n    pass\n\ndef broken(:\n\nimport a\nclass C:\n    pass\n")
    assert parsed.state is State.SYNTAX_ERRORS
    assert {"f", "C"} <= {symbol.name for symbol in parsed.symbols}
    assert Import("a", "", 6) in parsed.imports


@given(st.sampled_from(sorted(GRAMMARS)), st.binary(max_size=300))
def test_any_bytes_are_read(grammar: str, source: bytes) -> None:
    """Bytes that are no text in any encoding give an answer with names that can be stored."""
    for symbol in _parse(grammar, source).symbols:
        assert "\0" not in symbol.name
        symbol.name.encode()
        assert 1 <= symbol.start_line <= symbol.end_line
