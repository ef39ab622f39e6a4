"""Keeps logs from filling the disk: what has become large is renamed, and who writes it begins a new one.

The access log has a line for every call, and Envoy has to be told; the processes of the mesh see for themselves (mesh/logfile.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import httpx

from envoy import admin
from gateway.settings import SystemSettings
from mesh import logfile
from mesh.settings import MeshSettings

log = logging.getLogger(__name__)
_LOOK_S, _TIMEOUT_S = 5.0, 5.0
Reopen = Callable[[], Awaitable[None]]


def reopening(admin_port: int) -> Reopen:
    """Tells the Envoy on this machine to open its logs anew."""

    async def reopen() -> None:
        async with admin.client(admin_port, _TIMEOUT_S) as client:
            (await client.post("/reopen_logs")).raise_for_status()

    return reopen


class AccessLog:
    """Looks at the size of the access log now and then."""

    def __init__(self, path: Path, reopen: Reopen, settings: SystemSettings) -> None:
        self._path = path
        self._reopen = reopen
        self._settings = settings
        # renamed, but Envoy does not know yet: it writes on into the renamed file
        self._renamed = False

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Begins a new file when the one that is written has become too large."""
        try:
            if not self._renamed and self._path.exists() and self._path.stat().st_size > self._settings.access_log_bytes:
                logfile.shift(self._path, self._settings.access_log_files)
                self._renamed = True
            if self._renamed:
                await self._reopen()
                self._renamed = False
        except (OSError, httpx.HTTPError) as error:
            log.warning("the access log could not be begun anew, the next look tries again: %r", error)


class ProcessLogs:
    """Looks at the sizes of the processes' own logs now and then; `paths` says which there are."""

    def __init__(self, paths: Callable[[], Iterable[Path]], settings: MeshSettings) -> None:
        self._paths = paths
        self._settings = settings

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """Renames those that have become too large."""
        for path in self._paths():
            try:
                logfile.shift_large(path, self._settings.log_bytes, self._settings.log_files)
            except OSError as error:
                log.warning("the log %s could not be begun anew, the next look tries again: %r", path, error)
