"""The harness of the peers: in TOOLOO_BENCH_PEERS, else in `shared/bench` beside the checkout. Ours runs its scenarios too."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from bench.bus.server import ROOT

FOLDER = Path(os.environ.get("TOOLOO_BENCH_PEERS", ROOT.parent / "shared" / "bench"))


def is_there() -> bool:
    """Whether the folder is beside this checkout."""
    return (FOLDER / "harness.py").is_file()


def harness() -> Any:
    """The harness as a module, read by its path."""
    if "harness" not in sys.modules:
        spec = importlib.util.spec_from_file_location("harness", FOLDER / "harness.py")
        if spec is None or spec.loader is None:
            raise SystemExit(f"{FOLDER} holds no harness.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["harness"] = module
        spec.loader.exec_module(module)
    return sys.modules["harness"]
