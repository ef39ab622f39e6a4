"""What several files ask through the compatible doors: one far end of all providers, and the door before it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.calling_bench import Calling, door_before
from tests.integration.completing_bench import FarEnd
from tests.integration.remote_bench import far_end


@pytest.fixture
async def far() -> AsyncIterator[FarEnd]:
    """The far end of all providers."""
    found = FarEnd()
    async with far_end(found.answer) as server:
        found.url = server.url
        yield found


@pytest.fixture
async def calling(far: FarEnd, tmp_path: Path) -> AsyncIterator[Calling]:
    """The door before it."""
    async with door_before(far.url, tmp_path) as running:
        yield running
