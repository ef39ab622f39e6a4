"""What every message must be: such that its readers can decode it and write it as JSON."""

import math

import pytest
from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from tooloo.analytics.v1 import analytics_service_pb2 as analytics
from tooloo.orchestration.v1 import dag_pb2 as dag
from tooloo.orchestration.v1 import orchestration_service_pb2 as orchestration

from mesh import contracts
from mesh.soundness import is_sound, unsound_fields


def packed(message: Message) -> any_pb2.Any:
    """An Any that holds a message."""
    holder = any_pb2.Any()
    holder.Pack(message)
    return holder


def value(**parts: float | str | bool) -> struct_pb2.Value:
    """A google.protobuf.Value."""
    return struct_pb2.Value(**parts)  # type: ignore[arg-type]  # the cases name its fields


UNSOUND = [
    timestamp_pb2.Timestamp(seconds=253_402_300_800),
    timestamp_pb2.Timestamp(nanos=-1),
    duration_pb2.Duration(seconds=1, nanos=-1),
    duration_pb2.Duration(seconds=315_576_000_001),
    struct_pb2.Value(),
    value(number_value=math.nan),
    struct_pb2.Struct(fields={"x": value(number_value=math.inf)}),
    struct_pb2.ListValue(values=[struct_pb2.Value()]),
    any_pb2.Any(type_url="type.googleapis.com/no.such.Message"),
    packed(timestamp_pb2.Timestamp(nanos=-1)),
    packed(packed(duration_pb2.Duration(seconds=1, nanos=-1))),
]


@pytest.mark.parametrize("message", UNSOUND, ids=[f"{type(m).__name__}-{i}" for i, m in enumerate(UNSOUND)])
def test_what_json_cannot_write_is_unsound(message: Message) -> None:
    """Alone, and inside an Any, for that is how event data travels."""
    assert not is_sound(message)
    assert not is_sound(packed(message))


@given(
    st.one_of(
        st.builds(timestamp_pb2.Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
        st.builds(duration_pb2.Duration, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
        st.builds(timestamp_pb2.Timestamp, seconds=st.integers(-(2**36), 2**38), nanos=st.integers(0, 10**9 - 1)),
        st.builds(struct_pb2.Value, number_value=st.floats()),
    )
)
def test_what_is_sound_can_be_written_as_json(message: Message) -> None:
    """Protobuf's own writer is the oracle: what passes the check never fails there."""
    if is_sound(message):
        assert json_format.MessageToJson(message, descriptor_pool=contracts.pool())


def test_each_unsound_field_is_named() -> None:
    """With its path as callers write it, inside lists and maps too, and nothing but the unsound ones."""
    bad = struct_pb2.Struct(fields={"x": value(number_value=math.nan)})
    good = struct_pb2.Struct(fields={"x": value(number_value=1)})
    request = orchestration.ExecuteDagRequest(dag=dag.Dag(nodes=[dag.DagNode(input=good), dag.DagNode(input=bad)]), input=bad)
    assert {path for path, _ in unsound_fields(request)} == {"dag.nodes[1].input", "input"}
    overview = analytics.GetAnalyticsOverviewRequest(to=timestamp_pb2.Timestamp(seconds=1, nanos=2**31 - 1))
    assert [path for path, _ in unsound_fields(overview)] == ["to"]
    assert not list(unsound_fields(orchestration.ExecuteDagRequest(input=good)))
