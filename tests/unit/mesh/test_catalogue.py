"""Services are found by their folders, and a folder that cannot be one says why."""

from pathlib import Path

import pytest

from mesh.catalogue import SERVICES, CatalogueError, declared, discover

PACKAGES = {
    "tooloo.notes.v1": ["tooloo.notes.v1.NotesService"],
    "tooloo.maps.v1": ["tooloo.maps.v1.MapService", "tooloo.maps.v1.TileService"],
}


def _service(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "service.toml").write_text(text)


def test_the_six_services_bus_and_system_are_found() -> None:
    """The bus is shown first and the system last; every service answers something."""
    names = [spec.name for spec in SERVICES]
    assert (names[0], names[-1], len(names) >= 8) == ("bus", "system", True)
    assert all(spec.grpc_services for spec in SERVICES)


def test_a_folder_with_a_service_file_is_a_service(tmp_path: Path) -> None:
    """By port where none has a place; what it answers is what its package declares."""
    _service(tmp_path, "notes", 'title = "Notes Service"\nport = 3500\nscalable = false\n')
    _service(tmp_path, "maps", 'title = "Map Service"\nport = 3499\n')
    (tmp_path / "not_one").mkdir()
    maps, notes = discover(tmp_path, PACKAGES)
    assert (maps.name, maps.grpc_services, maps.scalable) == (
        "maps",
        ("tooloo.maps.v1.MapService", "tooloo.maps.v1.TileService"),
        True,
    )
    assert (notes.title, notes.port, notes.module, notes.scalable) == ("Notes Service", 3500, "services.notes", False)


def test_a_place_comes_before_a_port(tmp_path: Path) -> None:
    """Those that name a place are shown first."""
    _service(tmp_path, "notes", 'title = "Notes Service"\nport = 3500\nplace = 1\n')
    _service(tmp_path, "maps", 'title = "Map Service"\nport = 3499\n')
    assert [spec.name for spec in discover(tmp_path, PACKAGES)] == ["notes", "maps"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('title = "Notes Service"', "it needs a title"),
        ('title = "Notes Service"\nport = "3500"', "port: it needs a title"),
        ('title = "Notes Service"\nport = 3500\ncolour = "red"', "colour"),
    ],
)
def test_a_service_file_that_cannot_be_used_says_so(tmp_path: Path, text: str, says: str) -> None:
    """A missing, a mistyped and an unknown key."""
    _service(tmp_path, "notes", text)
    with pytest.raises(CatalogueError, match=f"services/notes/service.toml.*{says}"):
        list(discover(tmp_path, PACKAGES))


def test_two_services_on_one_port_are_refused(tmp_path: Path) -> None:
    """The message names both."""
    for name in ("maps", "notes"):
        _service(tmp_path, name, f'title = "{name}"\nport = 3500')
    with pytest.raises(CatalogueError, match=r"services/notes/service\.toml: port 3500 is that of maps"):
        list(discover(tmp_path, PACKAGES))


def test_a_service_without_a_contract_is_refused(tmp_path: Path) -> None:
    """The stubs may be older than the folder."""
    _service(tmp_path, "ghost", 'title = "Ghost"\nport = 3500')
    with pytest.raises(CatalogueError, match=r"no contract declares a gRPC service in tooloo\.ghost\.v1; run `make build`"):
        list(discover(tmp_path, PACKAGES))


def test_stubs_that_are_too_old_are_told(tmp_path: Path) -> None:
    """Somebody has pulled and not built."""
    with pytest.raises(CatalogueError, match="run `make build`"):
        declared(tmp_path)
