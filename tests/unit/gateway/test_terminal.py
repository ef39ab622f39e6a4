"""The block that ends a start has all that somebody needs who sees it for the first time."""

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
