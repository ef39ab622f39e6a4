"""Groups of files that one worker runs: they name files that there are, and whatever starts the far ends is in one of them."""

import re
from pathlib import Path

from tests.support import sharing

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = sorted(path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "tests").rglob("test_*.py"))


def test_every_group_has_files() -> None:
    """What was renamed would be run anywhere again."""
    for beginning, name in sharing.GROUPS.items():
        assert any(file.startswith(beginning) and sharing.group(file) == name for file in FILES), beginning


def test_journeys_to_far_ends_are_in_one_group() -> None:
    """Each worker that runs one of them starts a mesh and three far ends."""
    users = [file for file in FILES if re.search(r"\bconnected: Connected\b", (CHECKOUT / file).read_text())]
    assert len({sharing.group(file) for file in users}) == 1, users


def test_other_files_stand_for_themselves() -> None:
    """A group of all of them would leave workers without work."""
    assert sharing.group("tests/unit/test_sharing.py") == "tests/unit/test_sharing.py"
