"""The fast check of a publish against its oracle, protovalidate."""

from google.protobuf import any_pb2, timestamp_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus.envelope import surely_valid
from mesh.boundary import violations_of

TEXTS = st.text(alphabet=st.sampled_from("aZ0_.-/ \n\x00\x7f\u00e9"), max_size=6)
IDS = st.sampled_from(("018f0000-0000-7000-8000-000000000001", "018F0000-0000-7000-8000-00000000000A"))


def soup(good: st.SearchStrategy[str], limit: int) -> st.SearchStrategy[str]:
    """Mostly good values, some rubbish, and lengths around the limit."""
    return st.one_of(
        good, good, good, TEXTS, good.map(lambda text: text + "\n"), st.integers(limit - 1, limit + 1).map("a".__mul__)
    )


EVENTS = st.builds(
    Event,
    id=soup(IDS, 36),
    type=soup(st.sampled_from(("service.started", "a.b_2.c")), 128) | st.integers(125, 127).map(lambda n: "a." + "b" * n),
    source=soup(st.sampled_from(("system", "a-b_c")), 64),
    subject=soup(st.sampled_from(("users/ada", "\u00e9")), 512),
    time=st.sampled_from((timestamp_pb2.Timestamp(seconds=1), timestamp_pb2.Timestamp(), None)),
    data=st.sampled_from((any_pb2.Any(type_url="x"), any_pb2.Any(), None)),
    correlation_id=soup(st.just(""), 128),
    causation_id=soup(st.just(""), 128),
    traceparent=soup(st.just(""), 64),
    attributes=st.one_of(
        st.just({}),
        st.dictionaries(soup(st.just("user"), 20), soup(st.just("ada"), 256), max_size=2),
        st.integers(16, 17).map(lambda count: {f"a{n}": "" for n in range(count)}),
    ),
)


def fast(request: PublishRequest) -> bool:
    """The check under test."""
    return surely_valid(request.events, len(request.events), request.expected_versions)


@settings(max_examples=1500, deadline=None)
@given(EVENTS, st.dictionaries(soup(st.just("users/ada"), 512), st.integers(-1, 3), max_size=1))
def test_it_says_what_protovalidate_says(event: Event, expected: dict[str, int]) -> None:
    """For any event and any expected version the two agree."""
    request = PublishRequest(events=[event], expected_versions=expected)
    assert fast(request) is (violations_of(request) == [])


def test_the_number_of_events_is_bounded() -> None:
    """None, and more than a thousand, are refused by both."""
    good = Event(
        id="018f0000-0000-7000-8000-000000000001",
        type="service.started",
        source="system",
        subject="s",
        time=timestamp_pb2.Timestamp(),
        data=any_pb2.Any(),
    )
    for count, expected in ((0, False), (1, True), (1000, True), (1001, False)):
        request = PublishRequest(events=[good] * count)
        assert fast(request) is expected
        assert (violations_of(request) == []) is expected
