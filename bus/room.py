"""The room that the log has on its disk: watched while it lasts, given by the ballast when it is gone, sought until it is back.

On a full disk publishes are refused; all else (acknowledgements, retention, checkpoints) lives on the ballast meanwhile.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator

from bus import file_store
from bus.ballast import Ballast
from bus.settings import BusSettings

log = logging.getLogger(__name__)
# after about so much that is written it is looked whether the ballast still covers it; a commit alone is two pages or more
_COVER_EVERY, _COMMIT_BYTES = 64 * 1024, 8 * 1024
# how often it is looked whether a full disk has room again
_LOOK_AGAIN_SECONDS = 0.5


class Room:
    """The writer's: committed() and portions() in the thread that commits, all else in the loop's."""

    def __init__(self, connection: sqlite3.Connection, ballast: Ballast, on_failure: Callable[[BaseException], None]) -> None:
        self._connection = connection
        self._ballast = ballast
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._looking_again: asyncio.TimerHandle | None = None
        # since it was looked whether the ballast covers it
        self._written = 0
        # whether a write found no room, or the next ones may not: then comes run_out()
        self.short = False
        # whether publishes are refused
        self.full = False
        if not ballast.take():
            log.warning("the disk has no room for %s; set a smaller one or make room", BusSettings.env_name("ballast_bytes"))

    def committed(self, size: int) -> None:
        """A commit of events of so many bytes is on the disk."""
        self._written += _COMMIT_BYTES + size
        if self._written >= _COVER_EVERY and not self.full:
            self._written = 0
            self.short = not self._ballast.cover()

    def portions(self) -> Iterator[None]:
        """Makes room on a full disk, a portion each time, for as long as there is something to give."""
        # what the ballast gives must not go into a write-ahead log that only grows: what stands there needs it in the database
        if self._begins_anew():
            yield
        while self._ballast.give():
            yield

    def run_out(self) -> None:
        """The disk is full: publishes are refused from now on, and everything else lives on the ballast until there is room."""
        self.short = False
        if not self.full:
            log.error("the disk that holds the log is full: publishes are refused until there is room")
        self.full = True
        self._look_again_soon()

    def close(self) -> None:
        """Looks for room no more."""
        if self._looking_again:
            self._looking_again.cancel()

    def _begins_anew(self) -> bool:
        """Moves the write-ahead log into the database, with what the ballast gives; whether it begins anew now."""
        try:
            return self._ballast.lend(lambda: file_store.begin_anew(self._connection))
        except sqlite3.Error as error:
            # as the checkpointer sees it: nothing is lost yet, unless a sync has failed
            if file_store.is_sync_failure(error):
                self._on_failure(error)
            return False

    def _look_again_soon(self) -> None:
        if self._looking_again is None:
            self._looking_again = self._loop.call_later(_LOOK_AGAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looking_again = None
        if self._ballast.take_again():
            self.full = False
            log.warning("the disk that holds the log has room again: publishes are taken")
        else:
            self._look_again_soon()
