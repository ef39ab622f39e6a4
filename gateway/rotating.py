"""Keeps the access log, which has a line for every call, from filling the disk: it is renamed, and Envoy begins a new one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from envoy import admin
from gateway.settings import SystemSettings

log = logging.getLogger(__name__)
_LOOK_S, _TIMEOUT_S = 5.0, 5.0
Reopen = Callable[[], Awaitable[None]]


def reopening(admin_port: int) -> Reopen:
    """Tells the Envoy on this machine to open its logs anew."""

    async def reopen() -> None:
        async with admin.client(admin_port, _TIMEOUT_S) as client:
            (await client.post("/reopen_logs")).raise_for_status()

    return reopen


def shift(path: Path, kept: int) -> None:
    """Renames access.jsonl to access.1.jsonl, that to access.2.jsonl and so on; the oldest goes."""
    names = [path, *(path.with_suffix(f".{number}{path.suffix}") for number in range(1, kept + 1))]
    for older, younger in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
        if younger.exists():
            younger.replace(older)


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
                shift(self._path, self._settings.access_log_files)
                self._renamed = True
            if self._renamed:
                await self._reopen()
                self._renamed = False
        except (OSError, httpx.HTTPError) as error:
            log.warning("the access log could not be begun anew, the next look tries again: %r", error)
