"""What is vendored for the pages is what its packages hold, and says so with licence and version."""

import hashlib
from pathlib import Path

import pytest

VENDOR = Path(__file__).resolve().parents[3] / "gateway" / "pages" / "vendor"
ROWS = [line.split(" ") for line in (VENDOR / "VERSIONS").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_file_is_its_packages_own(row: list[str]) -> None:
    """Apart from the difference that is named, its bytes hash to what the package's file does."""
    name, package, _version, _licence, _path, digest, *changes = row
    text = (VENDOR / name).read_bytes()
    for change in changes:
        before, after = change.encode().split(b"=>")
        assert after in text, f"{name} has not the difference that VERSIONS names"
        text = text.replace(after, before)
    assert hashlib.sha256(text).hexdigest() == digest
    assert (VENDOR / f"LICENSE-{package}").read_text().strip()


def test_every_file_is_named() -> None:
    """Nothing stands among them that VERSIONS does not know."""
    files = {file.name for file in VENDOR.iterdir()}
    assert files == {row[0] for row in ROWS} | {f"LICENSE-{row[1]}" for row in ROWS} | {"VERSIONS"}
