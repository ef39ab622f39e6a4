"""The keys of a service's vault: those of its settings, else a key file made at the first start, readable by its owner alone."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mesh import vault
from mesh.settings import SettingError

FILE = "encryption.key"


def keys_at_hand(folder: Path, owner: str, current: str, old: Sequence[str]) -> list[bytes]:
    """The current key first; `current` and `old` are the settings encryption_key and encryption_old_keys of the owner.

    A key file that was made before the settings had a key still opens what it sealed.
    """
    path = folder / FILE
    given = [_given(owner, "ENCRYPTION_KEY", current)] if current else []
    made = [load_or_make(path)] if not given or path.exists() else []
    return [*given, *made, *(_given(owner, "ENCRYPTION_OLD_KEYS", text) for text in old)]


def _given(owner: str, name: str, text: str) -> bytes:
    try:
        return vault.read_key(text)
    except vault.KeyFormatError as error:
        raise SettingError(f"TOOLOO_{owner.upper()}_{name} holds no key: {error}") from error


def load_or_make(path: Path) -> bytes:
    """The key in the file; a new random one, mode 0600, when there is no file. Two processes that start at once get the same.

    SettingError for a file that holds none.
    """
    if not path.exists():
        _make(path)
    try:
        return vault.read_key(path.read_text())
    except vault.KeyFormatError as error:
        todo = "put the file of a backup in its place; without it, what it sealed cannot be opened any more"
        raise SettingError(f"{path} holds no key ({error}): {todo}") from error


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
