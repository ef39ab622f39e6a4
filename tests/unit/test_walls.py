"""The walls of the architecture: which room may import what, read from the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "__main__.py").exists())
ROOMS = {"__main__", "__init__", "service", "store", "events", "settings"}
SQL = ("SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ")
DATABASES = {"sqlite3", "aiosqlite", "asyncpg", "psycopg"}
# what domain modules may use beside the standard library: the domain's own libraries
DOMAIN_LIBRARIES = {
    "fsrs", "cronsim", "sklearn", "numpy", "ddsketch", "authlib", "joserfc", "cryptography", "tree_sitter", "rustworkx",
    # values and their JSON (docs/decisions/0018-values-are-structs.md)
    "msgspec", "propcache",
}  # fmt: skip
# parts of the kit that are pure themselves: clock, randomness and keys come in as arguments
PURE_KIT = ("mesh.vault",)


def _imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def test_there_are_six_services_at_least() -> None:
    """The walls are read for every service: an empty list would prove nothing. A seventh needs no line here."""
    assert set(SERVICES) >= {"analytics", "context", "integration", "learning", "orchestration", "provider"}


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    """Services meet over the bus and through typed clients only."""
    foreign = tuple(f"services.{other}" for other in SERVICES if other != service)
    for module in _modules(ROOT / "services" / service):
        for name in _imports(module):
            assert not f"{name}.".startswith(tuple(f"{other}." for other in foreign)), f"{module} imports {name}"
            assert not f"{name}.".startswith(("bus.", "gateway.", "envoy.")), f"{module} imports {name}"


def test_the_kit_imports_no_service() -> None:
    """Mesh is what everything stands on, so it stands on nothing of ours but the contracts."""
    for module in _modules(ROOT / "mesh"):
        for name in _imports(module):
            assert name.split(".")[0] not in {"services", "bus", "gateway", "envoy"}, f"{module} imports {name}"


@pytest.mark.parametrize("service", SERVICES)
def test_only_stores_import_a_database(service: str) -> None:
    """SQL stays in the store; even there it goes through the kit's transaction."""
    for module in _modules(ROOT / "services" / service):
        for name in _imports(module):
            assert name.split(".")[0] not in DATABASES, f"{module} imports {name}"


@pytest.mark.parametrize("service", SERVICES)
def test_sql_stands_in_stores_only(service: str) -> None:
    """No other room holds a statement."""
    for module in _modules(ROOT / "services" / service):
        if "store" in module.stem or "store" in module.parent.name:
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.lstrip().upper()
                assert not text.startswith(("SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ")), (
                    f"{module}: {node.value[:40]}"
                )


@pytest.mark.parametrize("service", SERVICES)
def test_domain_modules_are_pure(service: str) -> None:
    """A domain module imports the standard library, the domain's own libraries and its neighbours; no kit, no protobuf."""
    for module in _modules(ROOT / "services" / service):
        if not _is_domain(module):
            continue
        for name in _imports(module):
            top = name.split(".")[0]
            allowed = (
                top in sys.stdlib_module_names
                or top in DOMAIN_LIBRARIES
                or name.startswith((f"services.{service}", "services", *PURE_KIT))
            )
            assert allowed, f"{module.relative_to(ROOT)} is a domain module and imports {name}"


def _is_domain(module: Path) -> bool:
    """True for a module that is none of the rooms with I/O; packages of such rooms are named for what they do."""
    inside = module.relative_to(ROOT / "services").parts
    names = {module.stem, *inside[1:-1]}
    return not (
        names & (ROOMS | {"flows", "remote", "workers", "wire"})
        # a service of several gRPC services has a room of calls for each, and a room of wire forms for each
        or module.stem.endswith(("_service", "_wire"))
        or "store" in module.stem
        or any("store" in part for part in inside)
    )
