"""The package `tooloo-api`: another tool installs it into a bare environment elsewhere and calls a running mesh with it."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.support.mesh import ROOT, Mesh

CALLER = """
import sys, grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from importlib.resources import files
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.learning.v1 import learning_service_pb2 as learning
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub

descriptors = FileDescriptorSet.FromString(files("tooloo").joinpath("descriptors.binpb").read_bytes())
assert any(file.package == "tooloo.learning.v1" for file in descriptors.file)
assert ErrorReason.ERROR_REASON_INVALID_FIELD == 1
with grpc.insecure_channel(sys.argv[1]) as channel:
    answer = LearningServiceStub(channel).StartTraining(
        learning.StartTrainingRequest(user_id="wheel", focus_area="python", round_count=1), timeout=20
    )
print(answer.session_id)
"""


def test_another_tool_calls_the_mesh_with_the_installed_stubs(mesh: Mesh, tmp_path: Path) -> None:
    """The wheel holds stubs, typing marker and descriptor set, needs nothing of this checkout, and its calls are answered."""
    # a copy, because building leaves folders behind
    shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    _run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(tmp_path / "proto"),
    )
    wheel = next(tmp_path.glob("tooloo_api-*.whl"))
    elsewhere = tmp_path / "elsewhere"
    venv.create(elsewhere, with_pip=False)
    python = elsewhere / "bin" / "python"
    _run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), str(wheel))
    (tmp_path / "caller.py").write_text(CALLER)
    printed = _run(str(python), "-P", str(tmp_path / "caller.py"), mesh.target)
    assert len(printed.strip()) == 36
    assert list(elsewhere.rglob("site-packages/tooloo/py.typed"))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout
