"""Whatever /openapi.json lets a caller write, and what it does not, is answered in time as it says or refused with a reason."""

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fuzz.world import Known
from tests.support.mesh import ROOT, Mesh

# the door ends a call after 30 s; what takes longer hangs
_LONGEST_SECONDS = 40
_CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "refusal_has_a_reason"),
)
_VERBS = ("get", "post", "put", "patch", "delete")


def operations(mesh: Mesh) -> dict[str, Any]:
    """The operations of the mesh's own document by their id."""
    paths = httpx.get(f"{mesh.url}/openapi.json", timeout=30).raise_for_status().json()["paths"]
    return {each[verb]["operationId"]: each[verb] for each in paths.values() for verb in _VERBS if verb in each}


class Run:
    """One run of schemathesis against the mesh, in a process of its own."""

    def __init__(self, mesh: Mesh, known: Known, folder: Path, seed: int) -> None:
        self._mesh = mesh
        self._log = folder / "calls.jsonl"
        self._seed = seed
        self._env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "build" / "api"))),
            # of the libraries that schemathesis stands on, which are not ours to mend
            "PYTHONWARNINGS": "ignore",
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "TOOLOO_FUZZ_KNOWN": json.dumps(known),
            "TOOLOO_FUZZ_LOG": str(self._log),
        }
        self._folder = folder

    def __call__(self, phases: str, examples: int) -> int:
        """Sends the cases; gives their number; AssertionError with every fault and the curl command that shows it again."""
        # a stream has no end to wait for; test_streams.py reads the beginning of each
        streams = [name for name, operation in operations(self._mesh).items() if operation.get("x-server-streaming")]
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{self._mesh.url}/openapi.json", "--no-color"]
        command += ["--phases", phases, "--max-examples", str(examples), "--seed", str(self._seed), "--checks", ",".join(_CHECKS)]
        command += ["--request-timeout", str(_LONGEST_SECONDS), "--continue-on-failure", "--no-shrink", "--warnings", "off"]
        command += ["--suppress-health-check", "all", "--output-sanitize", "false", "--generation-database", "none"]
        for name in streams:
            command += ["--exclude-operation-id", name]
        ran = subprocess.run(command, cwd=self._folder, env=self._env, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, _faults(ran.stdout) + ran.stderr
        return self._report()

    def _report(self) -> int:
        """Prints what was answered; gives the number of calls."""
        calls = [json.loads(line) for line in self._log.read_text().splitlines()]
        statuses = Counter(call["status"] for call in calls)
        slowest = max(calls, key=lambda call: call["seconds"])
        print(f"{len(calls)} cases, seed {self._seed}, statuses {dict(sorted(statuses.items()))}, slowest {slowest}")
        return len(calls)


def _faults(output: str) -> str:
    """The part of schemathesis' report that says what is wrong."""
    return re.sub(r"(?s)^.*?(=+ (FAILURES|ERRORS) =+)", r"\1", output)


@pytest.fixture
def run(mesh: Mesh, known: Known, tmp_path: Path, seed: int) -> Run:
    """Ready to run."""
    return Run(mesh, known, tmp_path, seed)


@pytest.mark.timeout(1800)
def test_generated_requests_are_answered_or_refused_with_a_reason(run: Run, mesh: Mesh, cases: int) -> None:
    """Random requests, valid and not, for every operation."""
    # an operation that takes little has fewer different cases than it may
    examples = math.ceil(1.3 * cases / len(operations(mesh)))
    assert run("fuzzing", examples) >= cases


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_edges_of_every_rule_are_answered_or_refused_with_a_reason(run: Run, mesh: Mesh) -> None:
    """Values at and beyond every limit of the document, then chains of calls where one uses what another made."""
    assert run("examples,coverage,stateful", 50) > len(operations(mesh))
