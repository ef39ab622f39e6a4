"""Indexing a source tree: files a second and definitions found, beside Python's own ast and ctags on the same files, in one run.

`python -m bench.context [folder ...]`; without an argument this repository and the installed scikit-learn. Universal
Ctags (of the system's packages) is left out where it is not installed.
"""

import ast
import asyncio
import importlib.util
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tooloo.context.v1.context_service_pb2 import AnalyzeContextRequest
from tooloo.context.v1.context_service_pb2_grpc import ContextServiceStub

from mesh import testing
from services.context.__main__ import build
from services.context.parsing import Kind, parse
from services.context.settings import ContextSettings
from services.context.walking import Found, Walk

HERE = Path(__file__).resolve().parent.parent
ROUNDS = 3
DEFINITIONS = {Kind.CLASS, Kind.FUNCTION, Kind.METHOD}
SETTINGS = ContextSettings()
Finder = Callable[[dict[str, bytes]], set[tuple[str, str, int]]]


@dataclass(frozen=True)
class Figures:
    """One measurement: processor seconds, and the definitions found as (file, name, line)."""

    cpu: float
    found: frozenset[tuple[str, str, int]]


def python_files(root: Path) -> dict[str, bytes]:
    """The tree's Python files that Python itself can read, in memory, so that the disk is out of the comparison."""
    walk = Walk(root, frozenset(SETTINGS.skip_names), SETTINGS.max_file_bytes)
    contents = {
        entry.path: (root / entry.path).read_bytes() for entry in walk if isinstance(entry, Found) and entry.path.endswith(".py")
    }
    return {path: content for path, content in contents.items() if _readable(content)}


def _readable(content: bytes) -> bool:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError):
        return False
    return True


def by_tree_sitter(files: dict[str, bytes]) -> set[tuple[str, str, int]]:
    """What the service finds."""
    return {
        (path, symbol.name, symbol.start_line)
        for path, content in files.items()
        for symbol in parse("python", content, 1_000_000, 1_000_000).symbols
        if symbol.kind in DEFINITIONS
    }


def by_ast(files: dict[str, bytes]) -> set[tuple[str, str, int]]:
    """What Python's own parser finds."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        (path, node.name, node.lineno)
        for path, content in files.items()
        for node in ast.walk(ast.parse(content))
        if isinstance(node, kinds)
    }


def by_ctags(files: dict[str, bytes]) -> set[tuple[str, str, int]]:
    """What Universal Ctags finds; it reads the files from a folder."""
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        for path, content in files.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        command = ["ctags", "-R", "-x", "--languages=Python", "--python-kinds=cfm", "--_xformat=%F\t%N\t%n", "."]
        lines = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = (line.split("\t") for line in lines)
    return {(path.removeprefix("./"), name, int(number)) for path, name, number in rows}


def peers() -> dict[str, Finder]:
    """Everything that is measured, ours first."""
    found: dict[str, Finder] = {"tooloo (tree-sitter)": by_tree_sitter, "ast of Python": by_ast}
    if (
        shutil.which("ctags")
        and "Universal" in subprocess.run(["ctags", "--version"], check=True, capture_output=True, text=True).stdout
    ):
        found["universal-ctags"] = by_ctags
    return found


def _cpu() -> float:
    """Processor seconds of this process and those it waited for."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whose))


def measure(find: Finder, files: dict[str, bytes]) -> Figures:
    """One pass over the files."""
    cpu = _cpu()
    found = find(files)
    return Figures(_cpu() - cpu, frozenset(found))


def parsers(root: Path) -> None:
    """All parsers in turn on the same bytes, interleaved; the least disturbed round of each counts."""
    files, finders = python_files(root), peers()
    size = sum(map(len, files.values())) / 1e6
    rounds = [[measure(find, files) for find in finders.values()] for _ in range(ROUNDS)]
    best = dict(zip(finders, (min(column, key=lambda each: each.cpu) for column in zip(*rounds, strict=True)), strict=True))
    ours, truth = next(iter(best.values())), best["ast of Python"].found
    print(f"\n{root.name}: {len(files)} Python files, {size:.1f} MB; per second of one processor")
    print(f"{'parser':24} {'files/s':>8} {'MB/s':>6} {'definitions':>12} {'missed':>8} {'extra':>8}  ratio files/s (ours / it)")
    for name, each in best.items():
        found = f"{len(each.found):12} {len(truth - each.found):8} {len(each.found - truth):8}"
        print(f"{name:24} {len(files) / each.cpu:8.0f} {size / each.cpu:6.1f} {found}  {each.cpu / ours.cpu:.2f}")


async def service(root: Path) -> None:
    """The whole service: walk, parse in worker processes, store, link, publish; then the same again with nothing changed."""
    print(f"{'whole service':24} {'files/s':>8} {'wall s':>8} {'symbols':>9} {'imports':>9} {'resolved':>9} {'parsed':>8}")
    env = {"TOOLOO_CONTEXT_ROOTS": "/"}
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        async with testing.running("context", build, Path(folder), settings=env) as bench:
            stub = ContextServiceStub(bench.channel)
            for name in ("first index", "again, nothing changed"):
                wall = time.perf_counter()
                answer = await stub.AnalyzeContext(AnalyzeContextRequest(path=str(root)))
                seconds, it = time.perf_counter() - wall, answer.repository
                row = f"{name:24} {it.files / seconds:8.0f} {seconds:8.2f} {it.symbols:9} {it.imports:9} {it.resolved_imports:9}"
                print(f"{row} {answer.added_files + answer.changed_files:8}")


def _installed(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed here; name a folder")
    return Path(spec.origin).parent


def main() -> None:
    """Measures each folder."""
    for root in [Path(folder).resolve() for folder in sys.argv[1:]] or [HERE, _installed("sklearn")]:
        parsers(root)
        asyncio.run(service(root))


if __name__ == "__main__":
    main()
