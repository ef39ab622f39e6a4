"""The key file: made at the first start when the settings hold no encryption key, readable by its owner alone."""

import os
import tempfile
from pathlib import Path

from services.integration import vault


def load_or_make(path: Path) -> bytes:
    """The key in the file; a new random one, mode 0600, when there is no file. Two processes that start at once get the same."""
    if not path.exists():
        _make(path)
    try:
        return vault.read_key(path.read_text())
    except vault.KeyFormatError as error:
        raise vault.KeyFormatError(f"{path} holds no key: {error}") from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        os.write(handle, vault.write_key(os.urandom(vault.KEY_BYTES)).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(draft, path)  # unlike rename it never replaces the key of a process that was faster
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Brings the new name to disk: a key that vanishes in a power cut takes every connection with it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
