"""The benches of budgets and of memory run, small, and what they promise of correctness holds at that size too."""

import os
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


@pytest.mark.slow
def test_the_soak_answers_every_call() -> None:
    """A few seconds of it: steady calls over gRPC, whole and streamed, and a table of the memory."""
    env = {**os.environ, "TOOLOO_SOAK_SECONDS": "4"}
    command = [sys.executable, "-m", "bench.provider.soak"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "second half" in done.stdout
