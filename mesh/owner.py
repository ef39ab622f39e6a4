"""Who holds leases in a service's store: a process with an id, and a file that it keeps locked as long as it lives.

The kernel lets go of the lock however the process ends. So the next one that starts, or another one that looks, can give back what
a killed one held, at once and whatever else runs on the store; a process that is only frozen keeps its lock, and its leases end by
their time.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from mesh.db import Transaction
from mesh.host import Host

log = logging.getLogger(__name__)
FOLDER = "owners"
# what a backup leaves out
_ENDING = ".lock"
# of a file that its owner has not locked yet
_NEW = "new-"


class GiveBack(Protocol):
    """Ends the leases of an owner, some at a time; true when there may be more."""

    def __call__(self, tx: Transaction, owner: str) -> Awaitable[bool | None]:
        """In this transaction."""
        ...


class Owner:
    """A process among those on one store; `close` says that it holds nothing any more."""

    def __init__(self, owner_id: str, folder: Path) -> None:
        self.id = owner_id
        self._file = folder / f"{owner_id}{_ENDING}"
        self._lock = -1

    @classmethod
    async def begin(cls, host: Host, give_back: GiveBack) -> "Owner":
        """An owner of its own; before, `give_back` ends the leases of each one that is gone."""
        folder = host.data_folder / FOLDER
        owner = cls(host.ids(), folder)
        try:
            await asyncio.to_thread(owner._take)
        except OSError as error:
            # a full disk, say: what it holds when it is killed ends by its time
            log.warning("%s cannot be written, leases of killed processes end by their time: %s", folder, error)
            return owner
        await owner.look(host, give_back)
        return owner

    async def look(self, host: Host, give_back: GiveBack) -> None:
        """Ends the leases of each other one that is gone. Several may do so at the same time: who comes second finds none."""
        for path in await asyncio.to_thread(self._gone):
            while await host.db.write(partial(give_back, owner=path.stem)):
                pass
            with suppress(OSError):
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def close(self) -> None:
        """Lets go of the file, which goes too."""
        if self._lock >= 0:
            self._file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def _take(self) -> None:
        """Locks the own file. It has its name only then: no other takes one that is not locked yet for one that is gone."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._file.with_name(_NEW + self._file.name)
        self._lock = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self._file)

    def _gone(self) -> list[Path]:
        """Files of others that nobody locks."""
        others = sorted(self._file.parent.glob(f"*{_ENDING}"))
        return [path for path in others if path != self._file and not path.name.startswith(_NEW) and _is_gone(path)]


def _is_gone(path: Path) -> bool:
    # held, or gone already, or another user's
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        return True
    return False
