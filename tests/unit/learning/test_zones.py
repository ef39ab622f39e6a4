"""Time zones: IANA names only, and UTC without a database."""

from datetime import UTC, datetime

import pytest

from services.learning.zones import UnknownTimeZoneError, zone_of


def test_known_zones() -> None:
    """A name of the database gives its rules; UTC is always there."""
    assert zone_of("UTC") is UTC
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert noon.astimezone(zone_of("Europe/Berlin")).hour == 14


@pytest.mark.parametrize("name", ["", "Europe", "../UTC", "/etc/passwd", "Nowhere/Land"])
def test_unknown_zones(name: str) -> None:
    """Anything else is refused with an example of what is right."""
    with pytest.raises(UnknownTimeZoneError, match="Europe/Berlin"):
        zone_of(name)
