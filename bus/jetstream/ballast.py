"""Room kept back in NATS, so that acknowledgements can still be written when publishes are refused because there is none."""

from contextlib import suppress

from bus.jetstream.bucket import Bucket
from bus.jetstream.connection import ApiError, Unreachable
from bus.storage import DiskFull

_PREFIX = "ballast"
_PIECE = 256 * 1024


class Ballast:
    """Values of no meaning in the bucket: given up when there is no room, taken again when there is."""

    def __init__(self, bucket: Bucket, size: int) -> None:
        self._bucket = bucket
        self._keys = [f"{_PREFIX}.{number}" for number in range(size // _PIECE)]

    async def take(self) -> bool:
        """Takes what is missing; False when there is no room for it."""
        with suppress(DiskFull, Unreachable, ApiError):
            held = await self._bucket.keys(_PREFIX)
            for key in self._keys:
                if key not in held:
                    await self._bucket.put(key, bytes(_PIECE))
            return True
        return False

    async def give_up(self) -> bool:
        """Gives its room to others; False when it held none any more."""
        held = await self._bucket.keys(_PREFIX)
        await self._bucket.remove(held)
        return bool(held)
