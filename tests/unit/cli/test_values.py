"""Values as people type them, each to what proto3 JSON has for it."""

from datetime import UTC, datetime

import pytest
from google.protobuf.descriptor import FieldDescriptor

from mesh.cli import schema, values

POOL = schema.load().pool
NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)


def field(message: str, name: str) -> FieldDescriptor:
    """A field of the contracts, e.g. "provider.v1.SelectProviderRequest", "strategy"."""
    found: FieldDescriptor = POOL.FindMessageTypeByName(f"tooloo.{message}").fields_by_name[name]
    return found


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("query", "hi there", "hi there"),
        ("estimated_tokens", "1_000", 1000),
        ("quality_weight", "0.25", 0.25),
        ("prefer_free", "yes", True),
        ("prefer_free", "false", False),
        ("strategy", "high-quality", "STRATEGY_HIGH_QUALITY"),
        ("strategy", "STRATEGY_HIGH_QUALITY", "STRATEGY_HIGH_QUALITY"),
        ("weights", '{"cost": 2}', {"cost": 2}),
    ],
)
def test_fields_of_a_request(name: str, text: str, value: object) -> None:
    """Scalars, choices and JSON."""
    assert values.parse(field("provider.v1.SelectProviderRequest", name), text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5.00 USD", {"currencyCode": "USD", "units": "5", "nanos": 0}),
        ("eur 0.0042", {"currencyCode": "EUR", "units": "0", "nanos": 4_200_000}),
        ("-1.5 USD", {"currencyCode": "USD", "units": "-1", "nanos": -500_000_000}),
        ('{"currencyCode": "USD", "units": "5"}', {"currencyCode": "USD", "units": "5"}),
    ],
)
def test_money(text: str, value: object) -> None:
    """An amount and a currency, in either order, to the nano-unit."""
    assert values.parse(field("provider.v1.TrackBudgetRequest", "cost"), text) == value


@pytest.mark.parametrize("text", ["5", "USD", "5 dollars", "USD 5 EUR", "1,5 USD"])
def test_what_is_no_money(text: str) -> None:
    """Nothing is guessed: neither the currency nor what a comma means."""
    with pytest.raises(ValueError, match=r"5\.00 USD"):
        values.parse(field("provider.v1.TrackBudgetRequest", "cost"), text)


@pytest.mark.parametrize(
    ("text", "value"), [("10s", "10s"), ("1.5s", "1.5s"), ("500ms", "0.5s"), ("2m", "120.0s"), ("1h", "3600.0s")]
)
def test_durations(text: str, value: str) -> None:
    """A number and a unit, as in settings."""
    assert values.parse(field("orchestration.v1.ExecuteDagRequest", "wait"), text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("now", "2026-11-26T08:00:00Z"),
        ("-10m", "2026-11-26T07:50:00Z"),
        ("+1h", "2026-11-26T09:00:00Z"),
        ("2026-11-26T08:00:00.123456789Z", "2026-11-26T08:00:00.123456789Z"),
        ("2026-11-26T08:00:00+01:00", "2026-11-26T08:00:00+01:00"),
    ],
)
def test_times(text: str, value: str) -> None:
    """RFC 3339 goes as it is; what is relative is counted from now."""
    assert values.moment(text, NOW) == value


@pytest.mark.parametrize("text", ["yesterday", "10m ago", "26.11.2026", ""])
def test_what_is_no_time(text: str) -> None:
    """The refusal shows what would be right."""
    with pytest.raises(ValueError, match="RFC 3339"):
        values.moment(text, NOW)


def test_a_pair_of_a_map() -> None:
    """The value may have an equals sign of its own."""
    assert values.parse(field("analytics.v1.LogMetricRequest", "labels"), "query=a=b") == {"query": "a=b"}
    with pytest.raises(ValueError, match="key=value"):
        values.parse(field("analytics.v1.LogMetricRequest", "labels"), "query")


def test_every_enum_has_choices_without_its_prefix() -> None:
    """No two values of an enum are typed alike, and none with the enum's own name before it."""
    enums = {
        each.enum_type.full_name: each.enum_type
        for rpc in schema.load().rpcs.values()
        for each in rpc.request.fields
        if each.enum_type
    }
    assert enums
    for enum in enums.values():
        known = values.choices(enum)
        assert len(known) == len(enum.values) - 1
        assert not any(short.startswith(enum.name.lower()) for short in known)
