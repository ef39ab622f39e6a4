"""Room in memory for large requests: each is held, in several forms, for as long as a model takes to answer it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from mesh import errors

# what is smaller is bounded well enough by the number of calls
LARGE = 1024 * 1024
_SOON = timedelta(seconds=1)


class Room:
    """Bytes of large requests that may be worked on at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Takes room while the block runs; RESOURCE_EXHAUSTED when there is none. One alone always finds some."""
        held = size if size > LARGE else 0
        if held and self._taken and self._taken + held > self._most:
            detail = f"requests with {self._taken} bytes are being worked on; wait, or raise the setting large_requests_bytes"
            raise errors.exhausted("large_requests_bytes", detail, retry_after=_SOON)
        self._taken += held
        try:
            yield
        finally:
            self._taken -= held
