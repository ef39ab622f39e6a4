"""The bench of budgets runs, small, and what it promises of correctness holds at that size too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("part", ["exact", "pairs", pytest.param("stress", marks=pytest.mark.slow)])
def test_the_bench_runs_small(part: str) -> None:
    """It ends in order, with its table: exactly what fits is admitted, and nothing is spent beyond true overruns."""
    command = [sys.executable, "-m", "bench.provider.budget", part, "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every bar is met" in done.stdout
