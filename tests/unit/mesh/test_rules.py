"""protovalidate rules become JSON Schema keywords that say the same."""

import re

import pytest
from buf.validate import validate_pb2
from google.protobuf import duration_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh import contracts, rules


@given(st.integers(1, 100_000), st.integers(0, 200_000))
def test_below_matches_exactly_the_smaller_numbers(limit: int, number: int) -> None:
    """The expression for "less than" is the comparison, for every limit and number."""
    assert bool(re.fullmatch(rules.below(limit), str(number))) == (number < limit)


@pytest.mark.parametrize(
    ("text", "fits"),
    [("0s", True), ("300s", True), ("299.999999999s", True), ("301s", False), ("300.5s", False), ("-1s", False), ("1", False)],
)
def test_a_bounded_duration_is_a_pattern(text: str, fits: bool) -> None:
    """Bounds of 0 and 300 seconds."""
    own = validate_pb2.DurationRules(gte=duration_pb2.Duration(), lte=duration_pb2.Duration(seconds=300))
    assert bool(re.search(rules.keywords(own)["pattern"], text)) is fits


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("1970-01-01T00:00:00Z", True),
        ("2099-12-31T23:59:59.999999999Z", True),
        ("2026-11-22T21:00:00+01:00", True),
        ("1969-12-31T23:59:59Z", False),
        ("2100-01-01T00:00:00Z", False),
        ("2026-13-01T00:00:00Z", False),
    ],
)
def test_a_bounded_time_is_a_pattern(text: str, fits: bool) -> None:
    """From 1970 to 2100, as the contracts bound what analytics counts."""
    own = validate_pb2.TimestampRules(gte=timestamp_pb2.Timestamp(), lt=timestamp_pb2.Timestamp(seconds=4_102_444_800))
    assert bool(re.search(rules.keywords(own)["pattern"], text)) is fits


def test_texts_and_numbers_keep_their_bounds() -> None:
    """Each rule has its keyword."""
    text = validate_pb2.StringRules(min_len=1, max_len=9, pattern="^a")
    assert rules.keywords(text) == {"minLength": 1, "maxLength": 9, "pattern": "^a"}
    number = validate_pb2.DoubleRules(gte=0, lt=1)
    assert rules.keywords(number) == {"minimum": 0, "exclusiveMaximum": 1}
    assert rules.keywords(validate_pb2.StringRules(uuid=True)) == {"format": "uuid"}
    one_of = validate_pb2.Int32Rules()
    getattr(one_of, "in").extend([1, 2])
    assert rules.keywords(one_of) == {"enum": [1, 2]}


@pytest.mark.parametrize(
    ("field", "required"),
    [
        ("tooloo.event.v1.Event.subject", True),
        ("tooloo.event.v1.Event.time", True),
        ("tooloo.event.v1.Event.traceparent", False),
        ("tooloo.bus.v1.PublishRequest.events", True),
        ("tooloo.bus.v1.Subscription.backoff", False),
        ("tooloo.system.v1.ScaleServiceRequest.replicas", True),
        ("tooloo.system.v1.ScaleServiceRequest.request_id", False),
    ],
)
def test_a_field_is_required_when_a_request_without_it_is_refused(field: str, required: bool) -> None:
    """By `required`, or because its zero value breaks a rule."""
    assert rules.required(contracts.pool().FindFieldByName(field)) is required
