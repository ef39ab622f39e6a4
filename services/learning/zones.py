"""Time zones by name: in which of them a day is counted."""

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones


class UnknownTimeZoneError(ValueError):
    """A name that the time zone database of this machine does not have."""


@cache
def _known() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> tzinfo:
    """The time zone of an IANA name; UTC needs no database. UnknownTimeZoneError for a name that is none."""
    if name == "UTC":
        return UTC
    if name not in _known():
        raise UnknownTimeZoneError(f'{name!r} is no time zone; write an IANA name, e.g. "Europe/Berlin"')
    return ZoneInfo(name)
