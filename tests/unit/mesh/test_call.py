"""The circumstances of a call: what is taken from metadata, what is made anew, what is passed on."""

from mesh import call

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_goes_on() -> None:
    """The trace id of the caller stays, the span is new."""
    got = call.from_metadata("a/B", [("traceparent", PARENT), ("x-request-id", "r-1")])
    assert got.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert got.traceparent != PARENT
    assert got.correlation_id == "r-1"


def test_a_malformed_trace_is_replaced() -> None:
    """What is not a traceparent, or would not be safe in a log, is not passed on."""
    got = call.from_metadata("a/B", [("traceparent", "00-zz"), ("x-correlation-id", "evil\nline")])
    assert len(got.trace_id) == 32
    assert "evil" not in got.correlation_id


def test_the_next_service_gets_trace_and_correlation() -> None:
    """Metadata for an outgoing call carries both."""
    got = call.from_metadata("a/B", [("traceparent", PARENT), ("x-correlation-id", "c-1")])
    passed = dict(call.to_metadata(got))
    assert passed["x-correlation-id"] == "c-1"
    assert passed["traceparent"].split("-")[1] == got.trace_id
