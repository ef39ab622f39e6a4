"""Whether an index is certainly out of date, by what can be seen without reading the tree."""

from dataclasses import dataclass
from pathlib import Path

from services.context import git

_SHORT = 12


@dataclass(frozen=True)
class Sight:
    """What stands on disk now: is the folder there, and which commit is checked out ("" when none)."""

    exists: bool
    head: str


def look(root: str) -> Sight:
    """Looks at a folder."""
    folder = Path(root)
    try:
        exists = folder.is_dir()
    except OSError:
        exists = False
    return Sight(exists, git.head(git.find(folder)) if exists else "")


def why_stale(indexed_commit: str, sight: Sight) -> str:
    """What makes an index stale, in words; "" when nothing was seen that does."""
    if not sight.exists:
        return "its folder is gone or cannot be read"
    if sight.head != indexed_commit:
        return f"commit {_short(indexed_commit)} was indexed, {_short(sight.head)} is checked out"
    return ""


def _short(commit: str) -> str:
    return commit[:_SHORT] or "none"
