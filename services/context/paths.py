"""Which folders may be indexed, and under which id."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_ID = 128


class PathNotAllowed(ValueError):
    """Not a readable folder inside the allowed ones; the same whether it does not exist or may not be seen."""


def allowed_folder(path: str, base: Path, roots: Sequence[str]) -> Path:
    """The real folder of a path (links and ".." followed first, so that nothing leads out); PathNotAllowed outside of the roots.

    A relative path, also in `roots`, begins at `base`; "~" in `roots` is the user's home.
    """
    try:
        folder = (base / path).resolve(strict=True)
        inside = any(folder.is_relative_to((base / Path(root).expanduser()).resolve()) for root in roots)
    except (OSError, RuntimeError, ValueError) as error:
        raise PathNotAllowed(path) from error
    if not inside or not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK) or not _is_text(folder):
        raise PathNotAllowed(path)
    return folder


def _is_text(folder: Path) -> bool:
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        return False
    return True


def default_id(folder: Path) -> str:
    """A repository's id from its folder's name, e.g. "tooloo"; "repository" when nothing of the name can be used."""
    return _NOT_OF_AN_ID.sub("-", folder.name).lstrip("._-")[:_LONGEST_ID] or "repository"
