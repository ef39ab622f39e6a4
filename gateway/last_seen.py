"""Which processes serve, and when that was last seen to be so: a small file, for the next start after an end that nobody told.

Its time is that of its last touch, which costs no sync; a power cut may set it back by as much as the file system delays its times.
"""

import asyncio
import json
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

FILE = "serving.json"
log = logging.getLogger(__name__)


class LastSeen:
    """The file, kept true by a running process manager. A disk that is full costs the knowledge, and nothing else."""

    def __init__(self, folder: Path, interval: timedelta) -> None:
        self._path = folder / FILE
        self._interval = interval
        self._serving: dict[str, str] = {}

    def left_behind(self) -> tuple[dict[str, str], datetime]:
        """The processes, with their services, that an earlier process manager left serving, and when it last saw them."""
        try:
            found = json.loads(self._path.read_bytes())
            seen = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        except (OSError, ValueError):
            return {}, datetime.fromtimestamp(0, UTC)
        plain = isinstance(found, dict) and all(isinstance(service, str) for service in found.values())
        return (found if plain else {}), seen

    def note(self, process: str, service: str, *, serves: bool) -> None:
        """Notes that a process serves, or does so no more."""
        if serves:
            self._serving[process] = service
        else:
            self._serving.pop(process, None)
        self._write()

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(self._serving))
            beside.replace(self._path)
        except OSError as error:
            log.warning("which processes serve is not noted: %s", error)

    async def keep(self) -> None:
        """Sees them again and again, for ever."""
        while True:
            await asyncio.sleep(self._interval.total_seconds())
            if self._serving:
                self._touch()

    def _touch(self) -> None:
        with suppress(OSError):
            os.utime(self._path)
