"""The package `tooloo-api`: another tool installs it into a bare environment elsewhere and calls a running mesh with it."""

from pathlib import Path

from tests.support.bare import CONTRACTS, BareEnvironment
from tests.support.mesh import Mesh

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
        learning.StartTrainingRequest(user_id="wheel", focus_area="python", round_count=1), timeout=120
    )
print(answer.session_id)
"""


def test_another_tool_calls_the_mesh_with_the_installed_stubs(mesh: Mesh, tmp_path: Path) -> None:
    """The wheel holds stubs, typing marker and descriptor set, needs nothing of this checkout, and its calls are answered."""
    elsewhere = BareEnvironment(tmp_path, CONTRACTS)
    assert len(elsewhere(CALLER, mesh.target).strip()) == 36
    assert list(elsewhere.folder.rglob("site-packages/tooloo/py.typed"))
