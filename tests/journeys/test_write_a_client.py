"""The programs of docs/how-to/write-a-client.md, in Python and Node, say what the page says they do."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.peers import npm
from tests.support import checkout, shown
from tests.support.mesh import ROOT, Mesh

PAGE = (ROOT / "docs" / "how-to" / "write-a-client.md").read_text()
_PROGRAM = re.compile(r"^(python|node) ")


def _mine(text: str) -> str:
    """The page's user under a name of its own: other tests of this mesh have an ada too."""
    return re.sub(r"\bada\b", "ada-client", text)


def test_every_client_of_the_page_works(mesh: Mesh, tmp_path: Path) -> None:
    """Stubs, reflection, REST, Server-Sent Events in Node, gRPC in Node."""
    checkout.write(tmp_path, {name: _mine(text) for name, text in shown.files(PAGE).items()})
    (tmp_path / "node_modules").symlink_to(npm.node_modules(ROOT / "tests" / "peers" / "grpc_js"))
    env = os.environ | {"TOOLOO": str(ROOT), "TOOLOO_DOOR": mesh.target, "PYTHONPATH": str(ROOT / "build" / "api")}
    programs = {"python": sys.executable, "node": str(npm.NODE)}
    steps = list(shown.dialogues(PAGE))
    assert len(steps) >= 6
    for command, expected in steps:
        here = _PROGRAM.sub(lambda match: f"{programs[match[1]]} ", _mine(command)).replace("localhost:3000", mesh.target)
        done = subprocess.run(["bash", "-c", here], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert not done.returncode, f"{command}\n{done.stderr}"
        shown.prints(_mine(expected), done.stdout, command)
