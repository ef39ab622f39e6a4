"""Which file of the same tree an import leads to. What is resolved for which language stands in the contract (Import.target)."""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

_PYTHON_FILES = ("/__init__.py", "/__init__.pyi", ".py", ".pyi")
_SCRIPT_SUFFIXES = ("", ".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".json")
_SCRIPT_INDEX = tuple(f"/index{suffix}" for suffix in _SCRIPT_SUFFIXES[1:])
# TypeScript writes the name of the file that it will become
_SCRIPT_SOURCES = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
_RUST_ROOTS = ("lib.rs", "main.rs", "mod.rs")


class ImportLike(Protocol):
    """What is resolved: a module as written and the name taken from it."""

    @property
    def module(self) -> str:
        """Module as written."""
        ...

    @property
    def name(self) -> str:
        """Name taken from it, or ""."""
        ...


class Resolver:
    """Resolves the imports of one tree. `go_modules` maps the path of each go.mod to the module it names; `name` is the root's."""

    def __init__(self, paths: Iterable[str], go_modules: Mapping[str, str] | None = None, name: str = "") -> None:
        self._paths = frozenset(paths)
        # a root that is a package itself is imported by its own name
        self._own_package = name if "__init__.py" in self._paths else ""
        self._python_roots = _python_roots(self._paths)
        self._go_modules = {module: posixpath.dirname(path) for path, module in (go_modules or {}).items()}
        self._go_packages = _go_packages(self._paths)
        self._java_classes = _by_name(path for path in self._paths if path.endswith(".java"))
        self._ways: dict[str, Callable[[str, str, str], Iterator[str]]] = {
            "c": self._include,
            "cpp": self._include,
            "go": self._go,
            "java": self._java,
            "javascript": self._script,
            "python": self._python,
            "ruby": self._ruby,
            "rust": self._rust,
            "typescript": self._script,
        }

    def resolve(self, path: str, language: str, found: ImportLike) -> str:
        """The file that an import in the file `path` leads to; "" when it comes from elsewhere or is not resolved."""
        way = self._ways.get(language)
        if way is None:
            return ""
        candidates = way(path, found.module, found.name)
        return next((candidate for candidate in candidates if candidate in self._paths and candidate != path), "")

    def _python(self, path: str, module: str, name: str) -> Iterator[str]:
        dotted = module.lstrip(".")
        dots = len(module) - len(dotted)
        parts = [part.strip() for part in dotted.split(".")] if dotted or not dots else []
        if self._own_package and not dots and parts[0] == self._own_package:
            yield from _python_module("", parts[1:], name)
        for root in _python_up(path, dots) if dots else self._python_folders(path, parts):
            yield from _python_module(root, parts, name)

    def _python_folders(self, path: str, parts: list[str]) -> Iterator[str]:
        """Where an absolute import may begin, most likely first."""
        folder = posixpath.dirname(path)
        if not self._is_package(folder):
            yield folder
        while self._is_package(folder):
            folder = posixpath.dirname(folder)
        yield folder
        yield ""
        yield "src"
        yield from sorted(self._python_roots.get(parts[0] if parts else "", ()), key=lambda root: _nearness(path, root))

    def _is_package(self, folder: str) -> bool:
        return bool(folder) and any(f"{folder}{mark}" in self._paths for mark in _PYTHON_FILES[:2])

    def _script(self, path: str, module: str, _: str) -> Iterator[str]:
        if not module.startswith(("./", "../")) and module not in (".", ".."):
            return
        target = _joined(posixpath.dirname(path), module)
        stem, suffix = posixpath.splitext(target)
        for ending in _SCRIPT_SUFFIXES:
            yield target + ending
        for ending in _SCRIPT_SOURCES.get(suffix, ()):
            yield stem + ending
        for ending in _SCRIPT_INDEX:
            yield _joined(target, ending.removeprefix("/"))

    def _go(self, _: str, module: str, __: str) -> Iterator[str]:
        owners = [owner for owner in self._go_modules if module == owner or module.startswith(owner + "/")]
        for owner in sorted(owners, key=len, reverse=True):
            folder = _joined(self._go_modules[owner], module[len(owner) :].removeprefix("/"))
            if folder in self._go_packages:
                yield self._go_packages[folder]

    def _java(self, path: str, module: str, _: str) -> Iterator[str]:
        parts = module.split(".")
        # an import may name a class in a class or a static member: both live in the outer class's file
        for end in range(len(parts), max(len(parts) - 3, 0), -1):
            wanted = "/".join(parts[:end]) + ".java"
            same = self._java_classes.get(parts[end - 1] + ".java", ())
            found = [each for each in same if each == wanted or each.endswith("/" + wanted)]
            yield from sorted(found, key=lambda each: _nearness(path, each))

    def _include(self, path: str, module: str, _: str) -> Iterator[str]:
        if not module.startswith("<"):
            for folder in (posixpath.dirname(path), "", "include", "src"):
                yield _joined(folder, module)

    def _ruby(self, path: str, module: str, name: str) -> Iterator[str]:
        if name == "require_relative":
            target = _joined(posixpath.dirname(path), module)
            yield from (target, target + ".rb")

    def _rust(self, path: str, module: str, name: str) -> Iterator[str]:
        folder, parts = self._rust_start(path, [part for part in [*module.split("::"), name] if part])
        for end in range(len(parts), 0, -1):
            target = _joined(folder, "/".join(parts[:end]))
            yield from (target + ".rs", target + "/mod.rs")
        if module.startswith("crate"):
            yield from (_joined(folder, "lib.rs"), _joined(folder, "main.rs"))

    def _rust_start(self, path: str, parts: list[str]) -> tuple[str, list[str]]:
        """The folder that a path begins in, and the rest of the path."""
        own = _rust_folder(path)
        if parts[:1] == ["crate"]:
            return self._crate_folder(path), parts[1:]
        if parts[:1] == ["self"]:
            return own, parts[1:]
        while parts[:1] == ["super"]:
            own, parts = posixpath.dirname(own), parts[1:]
        return own, parts

    def _crate_folder(self, path: str) -> str:
        folder = posixpath.dirname(path)
        while folder and not any(f"{folder}/{root}" in self._paths for root in _RUST_ROOTS[:2]):
            folder = posixpath.dirname(folder)
        return folder


def _python_up(path: str, dots: int) -> list[str]:
    """The folder that a relative import begins in; none when it lies above the root."""
    folders = posixpath.dirname(path).split("/") if "/" in path else []
    kept = len(folders) - (dots - 1)
    return ["/".join(folders[:kept])] if kept >= 0 else []


def _python_module(root: str, parts: list[str], name: str) -> Iterator[str]:
    """A name may be a module of a package before it is something in it."""
    if name not in ("", "*"):
        yield from _python_files(root, [*parts, name])
    yield from _python_files(root, parts)


def _python_files(root: str, parts: list[str]) -> Iterator[str]:
    target = "/".join(part for part in (root, *parts) if part)
    for ending in _PYTHON_FILES:
        yield (target + ending).removeprefix("/")


def _python_roots(paths: frozenset[str]) -> dict[str, set[str]]:
    """Folders that hold a top package, by the package's name."""
    packages = {posixpath.dirname(path) for path in paths if path.endswith(("/__init__.py", "/__init__.pyi"))}
    roots: dict[str, set[str]] = {}
    for package in packages:
        parent, name = posixpath.split(package)
        if parent not in packages:
            roots.setdefault(name, set()).add(parent)
    return roots


def _go_packages(paths: frozenset[str]) -> dict[str, str]:
    """The file that stands for each Go package: the one named like its folder, else doc.go, else the first by name."""
    files: dict[str, list[str]] = {}
    for path in paths:
        if path.endswith(".go") and not path.endswith("_test.go"):
            files.setdefault(posixpath.dirname(path), []).append(path)
    return {folder: min(names, key=lambda path: _go_order(folder, path)) for folder, names in files.items()}


def _go_order(folder: str, path: str) -> tuple[bool, bool, str]:
    name = posixpath.basename(path)
    return name != posixpath.basename(folder) + ".go", name != "doc.go", path


def _by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in paths:
        names.setdefault(posixpath.basename(path), []).append(path)
    return names


def _rust_folder(path: str) -> str:
    """The folder of the modules inside a file's module."""
    folder, name = posixpath.split(path)
    return folder if name in _RUST_ROOTS else posixpath.splitext(path)[0]


def _joined(folder: str, relative: str) -> str:
    """A normal path inside the tree; one that leads out of it begins with ".." and is no file of it."""
    joined = posixpath.normpath(posixpath.join(folder, relative))
    return "" if joined == "." else joined


def _nearness(path: str, other: str) -> tuple[int, int, str]:
    """Sorts the places that share most folders with a path first, then the shortest, then by name."""
    shared = posixpath.commonpath([f"/{path}", f"/{other}"])
    return -len(shared), len(other), other
