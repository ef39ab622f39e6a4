"""The block that ends a start has all that somebody needs who sees it for the first time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.terminal import block
from mesh.catalogue import SERVICES
from mesh.settings import MeshSettings


def test_every_service_and_every_address_is_in_the_block() -> None:
    """From the catalogue and the settings: an eighth service would be in it too."""
    settings = MeshSettings.load({"TOOLOO_DOOR_PORT": "4000", "TOOLOO_DATA_FOLDER": "/data/here", "TOOLOO_LEARNING_PORT": "4001"})
    text = "\n".join(block(settings, 2.345))
    assert "ready after 2.3 s" in text
    for spec in SERVICES:
        assert f"{spec.title} " in text
        assert f"localhost:{settings.port_of(spec.name)} " in text
    for address in ("http://localhost:4000/", "http://localhost:4000/docs", "http://localhost:4000/health", "/data/here"):
        assert address in text
    assert "curl -X POST http://localhost:4000/" in text
    frame = [line for line in text.splitlines() if line.strip().startswith(("┌", "│", "└"))]
    assert len({len(line) for line in frame}) == 1, "the frame is not straight"


def test_an_address_that_others_reach_is_shown_as_it_is() -> None:
    """Who listens for others tells them where."""
    settings = MeshSettings.load({"TOOLOO_LISTEN_ADDRESS": "192.0.2.7"})
    assert "http://192.0.2.7:3000/" in "\n".join(block(settings, 1))


def _saying(output: int, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """A process that says two lines, as a mesh does when something gets ready and when it stops; 7 when both came back."""
    program = "import sys; from gateway.terminal import say; say('✓ one'); say('✗ two'); sys.exit(7)"
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=os.environ | (env or {}), stdout=output, stderr=subprocess.PIPE, check=False
    )


def test_a_mesh_does_not_end_with_its_reader() -> None:
    """`make dev | head`: what nobody reads any more is not said, and nothing else happens."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = _saying(writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (7, b"")


def test_a_mesh_does_not_end_with_the_room_for_what_it_says() -> None:
    """`make dev > file` on a full disk."""
    full = os.open("/dev/full", os.O_WRONLY)
    ended = _saying(full)
    os.close(full)
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(("encoding", "shown"), [("latin-1", b"? one\n? two\n"), ("utf-8", "✓ one\n✗ two\n".encode())])
def test_a_terminal_without_the_marks_is_no_reason_not_to_start(encoding: str, shown: bytes) -> None:
    """A terminal of another encoding gets what it can show."""
    reader, writer = os.pipe()
    ended = _saying(writer, {"PYTHONIOENCODING": encoding})
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        assert (ended.returncode, output.read()) == (7, shown)
