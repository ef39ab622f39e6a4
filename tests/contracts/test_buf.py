"""The contracts are clean by buf's rules, and a break with main is seen."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts import breaking

ROOT = Path(__file__).resolve().parents[2]
BUF = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"


@pytest.mark.parametrize("arguments", [["lint"], ["format", "--diff", "--exit-code"]], ids=lambda arguments: arguments[0])
def test_contracts_are_clean(arguments: list[str]) -> None:
    """STANDARD rules with comments, and one way to write them."""
    checked = subprocess.run([BUF, *arguments], cwd=ROOT / "proto", capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose main has one small contract."""
    folder = tmp_path / "proto" / "sample" / "v1"
    folder.mkdir(parents=True)
    (tmp_path / "proto" / "buf.yaml").write_text("version: v2\nbreaking:\n  use: [FILE]\n")
    (folder / "sample.proto").write_text('syntax = "proto3";\npackage sample.v1;\nmessage Sample {\n  string name = 1;\n}\n')
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_an_addition_is_no_break(repository: Path) -> None:
    """A new field is welcome."""
    contract = repository / "proto" / "sample" / "v1" / "sample.proto"
    contract.write_text(contract.read_text().replace("}", "  string more = 2;\n}"))
    assert breaking.check(repository) == (0, "the contracts break nothing of main\n")


def test_a_renumbered_field_is_a_break(repository: Path) -> None:
    """The report names the field."""
    contract = repository / "proto" / "sample" / "v1" / "sample.proto"
    contract.write_text(contract.read_text().replace("name = 1", "name = 2"))
    code, text = breaking.check(repository)
    assert code == 1
    assert "name" in text


def test_a_main_without_contracts_is_said_plainly(tmp_path: Path) -> None:
    """Then there is nothing to break."""
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tmp_path, check=True)
    code, text = breaking.check(tmp_path)
    assert code == 0
    assert "no contracts yet" in text
