"""Somebody wants the event bus and nothing else: docs/how-to/bus-alone.md, step by step, in a bare environment."""

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envoy.testing import free_ports
from tests.support import shown
from tests.support.bare import BUS, CONTRACTS, BareEnvironment, run
from tests.support.mesh import ROOT

PAGE = (ROOT / "docs" / "how-to" / "bus-alone.md").read_text()
_PRINTED = re.compile(r"^\$ python (?P<file>\w+\.py)\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE = 120
_PORT = "3050"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    """The two packages in an environment that knows nothing of the checkout."""
    return BareEnvironment(tmp_path_factory.mktemp("elsewhere"), CONTRACTS, BUS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The page's files, with the events compiled as it says."""
    for name, text in shown.files(PAGE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    compiling = next(command for command, _ in shown.steps(PAGE) if "grpc_tools.protoc" in command)
    # its first line installs what this environment has
    compiling = compiling.split("\n", 1)[1].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(["bash", "-c", compiling], cwd=tmp_path, env={**os.environ, "TOOLOO": str(ROOT)}, check=True, timeout=_PATIENCE)
    return tmp_path


def _printed(elsewhere: BareEnvironment, folder: Path, program: str) -> str:
    command = [elsewhere.python, program]
    done = subprocess.run(command, cwd=folder, env=_bare(), capture_output=True, text=True, check=False, timeout=_PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _bare(**more: str) -> dict[str, str]:
    """The environment's variables without what leads to this checkout."""
    ours = ("PYTHON", "TOOLOO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


@contextmanager
def _server(elsewhere: BareEnvironment, folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    settings = _bare(TOOLOO_EXTRA_CONTRACTS="shop.binpb", TOOLOO_DATA_FOLDER="events", TOOLOO_BUS_PORT=str(port))
    command = [elsewhere.python, "-m", "tooloo_bus"]
    with subprocess.Popen(command, cwd=folder, env=settings, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            server.kill()


def test_the_page_works_in_a_process_of_ones_own(elsewhere: BareEnvironment, folder: Path) -> None:
    """Prints what the page shows; the second time only the new orders are mailed, for the first were acknowledged."""
    expected = dict(_PRINTED.findall(PAGE))
    assert _printed(elsewhere, folder, "mailer.py") == expected["mailer.py"]
    again = _printed(elsewhere, folder, "mailer.py").splitlines()
    assert again[:2] == ["stored at [3, 4]", "mailed orders/17"]
    assert sum(line.startswith("dead letter") for line in again) == 2


def test_the_page_works_with_a_server(elsewhere: BareEnvironment, folder: Path) -> None:
    """On the port that is asked for; killed, it goes on where it was; Ctrl-C ends it in peace."""
    [port] = free_ports(1)
    program = folder / "order.py"
    program.write_text(program.read_text().replace(_PORT, str(port)))
    with _server(elsewhere, folder, port) as server:
        assert _printed(elsewhere, folder, "order.py") == dict(_PRINTED.findall(PAGE))["order.py"]
        server.kill()
    with _server(elsewhere, folder, port) as server:
        assert _printed(elsewhere, folder, "order.py") == "stored at [2]\nseen orders/19\n"
        server.send_signal(signal.SIGINT)
        assert server.wait(_PATIENCE) == 0


def test_a_port_that_is_taken_is_named(elsewhere: BareEnvironment, folder: Path) -> None:
    """One line that says what to do, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken, _server(elsewhere, folder, port := taken.getsockname()[1]) as server:
        _, said = server.communicate(timeout=_PATIENCE)
    assert server.returncode == 1
    assert f"TOOLOO_BUS_PORT: nothing can listen on 127.0.0.1:{port}" in said
    assert "Traceback" not in said


def test_it_asks_for_what_the_checkout_asks_for() -> None:
    """Each of its requirements stands in the checkout's own list, word for word."""
    ours, theirs = (tomllib.loads((ROOT / place / "pyproject.toml").read_text())["project"] for place in (".", "deploy/bus"))
    api = tomllib.loads((ROOT / "proto" / "pyproject.toml").read_text())["project"]
    assert set(theirs["dependencies"]) - set(ours["dependencies"]) == {f"tooloo-api=={api['version']}"}
    assert theirs["version"] == ours["version"]


def test_nothing_of_the_checkout_is_imported_there(elsewhere: BareEnvironment) -> None:
    """Every module of the package can be imported, and none goes by a name that others might use."""
    program = """
import importlib, pkgutil, sys
import tooloo_bus
found = [each.name for each in pkgutil.walk_packages(tooloo_bus.__path__, "tooloo_bus.") if not each.name.endswith("__main__")]
for name in found:
    importlib.import_module(name)
assert len(found) > 100, found
assert not {"bus", "mesh", "services", "gateway", "envoy"} & {name.partition(".")[0] for name in sys.modules}
"""
    elsewhere(program)
    assert "tooloo" in run(elsewhere.python, "-c", "import tooloo_bus; print(tooloo_bus.__file__)")
