"""Fields of any event are read by dotted path, and what is kept of an event is bounded."""

from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.analytics.v1 import analytics_events_pb2, health_pb2
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1 import learning_events_pb2, mastery_pb2
from tooloo.orchestration.v1 import orchestration_events_pb2

from services.analytics.events import field_value, heard_event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MASTERY = learning_events_pb2.MasteryChanged(user_id="ada", after=mastery_pb2.Mastery(level=0.5))
CHANGED = analytics_events_pb2.HealthChanged(band=health_pb2.HEALTH_BAND_HEALTHY, parts=[health_pb2.HealthPart()])
TRAINING = learning_events_pb2.TrainingCompleted(start_time=Timestamp(seconds=90))
NODE = orchestration_events_pb2.DagNodeCompleted(duration=Duration(seconds=1, nanos=500_000_000))


@pytest.mark.parametrize(
    ("message", "path", "value"),
    [
        (MASTERY, "after.level", 0.5),
        (MASTERY, "before.level", None),
        (MASTERY, "after", None),
        (MASTERY, "after.level.x", None),
        (MASTERY, "nothing", None),
        (MASTERY, "domain", ""),
        (CHANGED, "band", "HEALTH_BAND_HEALTHY"),
        (CHANGED, "parts", None),
        (analytics_events_pb2.HealthChanged(band=health_pb2.HealthBand.ValueType(99)), "band", 99),
        (TRAINING, "start_time", 90.0),
        (TRAINING, "complete_time", None),
        (NODE, "duration", 1.5),
    ],
)
def test_a_field_is_read_by_its_path(message: Message, path: str, value: object) -> None:
    """Messages, lists, unset and unknown fields have no value; enums have names, times are seconds."""
    assert field_value(message, path) == value


def test_what_is_kept_of_an_event() -> None:
    """User from the data, else from the attribute; the duration; a delay that is never negative."""
    event = Event(type="a.b", source="s", time=Timestamp(seconds=int(NOW.timestamp()) - 2), attributes={"user": "bob"})
    seen = heard_event(event, NODE, NOW)
    assert (seen.user_id, seen.delay_us, seen.duration_us) == ("bob", 2_000_000, 1_500_000)
    assert heard_event(event, MASTERY, NOW).user_id == "ada"
    assert heard_event(event, learning_events_pb2.MasteryChanged(user_id="x" * 129), NOW).user_id == ""
    assert heard_event(event, learning_events_pb2.MasteryChanged(user_id="a\nb"), NOW).user_id == ""
    event.time.seconds += 10
    assert heard_event(event, NODE, NOW).delay_us == 0


def test_a_negative_duration_counts_as_zero() -> None:
    """A clock that was set back gives no latency below zero."""
    event = Event(type="a.b", source="s", time=Timestamp())
    assert heard_event(event, orchestration_events_pb2.DagNodeCompleted(duration=Duration(seconds=-1)), NOW).duration_us == 0
    assert heard_event(event, orchestration_events_pb2.DagNodeCompleted(), NOW).duration_us is None
