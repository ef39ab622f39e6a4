"""What the kit sets for the libraries stands before they are loaded, whatever a process imports first."""

import subprocess
import sys
from pathlib import Path

import pytest

from mesh.catalogue import SERVICES

ROOT = Path(__file__).resolve().parents[3]
MODULES = ["gateway", *(spec.module for spec in SERVICES if spec.module)]
# looks for gRPC as every import of it does, and says what stands in the environment at the first time
SPY = """
import importlib, os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS"))
            sys.meta_path.remove(self)
sys.meta_path.insert(0, Spy())
importlib.import_module(sys.argv[1] + ".__main__")
print([name for name in ("rich", "click") if name in sys.modules])
"""


@pytest.mark.parametrize("module", MODULES)
def test_grpc_is_loaded_as_the_kit_wants_it(module: str) -> None:
    """What gRPC is told it reads once; and no process loads the command line of httpx with all that it draws with."""
    environment = {"PATH": "/usr/bin:/bin"}
    answer = subprocess.run(
        [sys.executable, "-c", SPY, module], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == ["-event_engine_client,-event_engine_listener", "[]"]
