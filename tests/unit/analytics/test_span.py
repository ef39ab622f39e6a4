"""Folding events conserves them, and a span says of each service what its events say."""

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.buckets import DAY, HOUR, MINUTE, WIDTHS
from services.analytics.health import Aspect, Policy
from services.analytics.series import DELAY, DURATION
from services.analytics.span import HeardEvent, Span, Words, fold_events, health_of

heard = st.builds(
    HeardEvent,
    type=st.sampled_from(["a.completed", "a.failed", "b.started"]),
    source=st.sampled_from(["x", "y"]),
    user_id=st.sampled_from(["", "ada", "bob"]),
    time_us=st.integers(min_value=0, max_value=2 * DAY),
    delay_us=st.integers(min_value=0, max_value=HOUR),
    duration_us=st.none() | st.integers(min_value=0, max_value=HOUR),
)


@given(st.lists(heard, max_size=60))
def test_folding_conserves_every_event(events: list[HeardEvent]) -> None:
    """Each event is counted once a width, once in the totals, once for its user, and its values once."""
    folded = fold_events(events)
    for width in WIDTHS:
        assert sum(count for (w, *_), count in folded.counts.items() if w == width) == len(events)
    assert sum(map(len, folded.told.values())) == len(events)
    assert sum(map(len, folded.days.values())) == sum(bool(event.user_id) for event in events)
    lengths = {name: sum(len(v) for (n, _), v in folded.values.items() if n == name) for name in (DELAY, DURATION)}
    assert lengths == {DELAY: len(events), DURATION: sum(event.duration_us is not None for event in events)}


@given(st.lists(heard, max_size=60))
def test_a_span_takes_only_what_lies_in_it(events: list[HeardEvent]) -> None:
    """Start inclusive, end exclusive."""
    span = Span(HOUR, DAY)
    span.take(events)
    inside = [event for event in events if HOUR <= event.time_us < DAY]
    assert sum(span.counts.values()) == len(inside)
    assert sum(summary.count for summary in span.delays.values()) == len(inside)
    assert set(span.services) == {event.source for event in inside}


def test_health_looks_only_at_the_service_asked_for() -> None:
    """Another service's failures are not one's own."""
    span = Span(0, HOUR)
    good = HeardEvent("a.completed", "x", "", MINUTE, 1000, 5000)
    bad = HeardEvent("a.failed", "y", "", MINUTE, 1000, None)
    span.take([good] * 30 + [bad] * 30)
    words = Words(["failed"], ["completed"])
    scores = {
        service: {part.aspect: part.score for part in health_of(Policy(), words, span, service).parts} for service in ("x", "y")
    }
    assert scores["x"] == {Aspect.AVAILABILITY: None, Aspect.ERRORS: 1, Aspect.LATENCY: 1, Aspect.FRESHNESS: 1}
    assert scores["y"] == {Aspect.AVAILABILITY: None, Aspect.ERRORS: 0, Aspect.LATENCY: None, Aspect.FRESHNESS: 1}
