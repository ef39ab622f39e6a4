"""Ids as an argument: UUIDv7 (RFC 9562), which sort by the time they were made."""

from collections.abc import Callable

import uuid_utils

Ids = Callable[[], str]


def new_id() -> str:
    """A new UUIDv7 in its canonical text form."""
    return str(uuid_utils.uuid7())
