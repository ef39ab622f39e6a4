"""What was heard over a span of time, and what it says of each service."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.analytics import health, series
from services.analytics.buckets import DAY, SECOND, WIDTHS, Summary, floor, total
from services.analytics.health import Health, Policy, Transition

_P95 = 0.95
# (event type, source)
Told = tuple[str, str]


@dataclass(frozen=True)
class HeardEvent:
    """What analytics keeps of one event. `time_us` is when it happened, `delay_us` how long it took to arrive."""

    type: str
    source: str
    user_id: str
    time_us: int
    delay_us: int
    duration_us: int | None

    @property
    def heard_us(self) -> int:
        """When it arrived."""
        return self.time_us + self.delay_us


@dataclass
class Span:
    """Counts, durations and delays (in seconds) of a span, and the processes' transitions up to its end."""

    start_us: int
    end_us: int
    counts: dict[Told, int] = field(default_factory=lambda: defaultdict(int))
    durations: dict[Told, Summary] = field(default_factory=lambda: defaultdict(Summary))
    delays: dict[str, Summary] = field(default_factory=lambda: defaultdict(Summary))
    transitions: dict[str, list[Transition]] = field(default_factory=lambda: defaultdict(list))

    def take(self, events: Iterable[HeardEvent]) -> None:
        """Adds the events that lie in the span."""
        for event in events:
            if not self.start_us <= event.time_us < self.end_us:
                continue
            told = (event.type, event.source)
            self.counts[told] += 1
            self.delays[event.source].add(event.delay_us / SECOND)
            if event.duration_us is not None:
                self.durations[told].add(event.duration_us / SECOND)

    @property
    def services(self) -> list[str]:
        """Every service that told something or was told of, by name."""
        return sorted({source for _, source in self.counts} | set(self.transitions))


@dataclass
class Folded:
    """Heard events as what is added to the store."""

    # (width, start, type, source)
    counts: Counter[tuple[int, int, str, str]] = field(default_factory=Counter)
    # times by (type, source), and by (user, day)
    told: dict[Told, list[int]] = field(default_factory=lambda: defaultdict(list))
    days: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    # (time, seconds) by (metric, canonical labels)
    values: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))


def fold_events(events: Iterable[HeardEvent]) -> Folded:
    """Counts, times and values of events, grouped by where they belong."""
    folded = Folded()
    for event in events:
        for width_us in WIDTHS:
            folded.counts[width_us, floor(event.time_us, width_us), event.type, event.source] += 1
        folded.told[event.type, event.source].append(event.time_us)
        if event.user_id:
            folded.days[event.user_id, floor(event.time_us, DAY)].append(event.time_us)
        delay = (series.DELAY, series.canonical({"source": event.source}))
        folded.values[delay].append((event.time_us, event.delay_us / SECOND))
        if event.duration_us is not None:
            duration = (series.DURATION, series.canonical({"type": event.type, "source": event.source}))
            folded.values[duration].append((event.time_us, event.duration_us / SECOND))
    return folded


@dataclass(frozen=True)
class Words:
    """Last words of event types that mean an outcome."""

    failures: Sequence[str]
    successes: Sequence[str]


def health_of(policy: Policy, words: Words, span: Span, service: str) -> Health:
    """The health of one service over the span."""
    outcomes = {True: 0, False: 0}
    for (event_type, source), count in span.counts.items():
        outcome = health.outcome_of(event_type, words.failures, words.successes)
        if source == service and outcome is not None:
            outcomes[outcome] += count
    durations = total(summary for (_, source), summary in span.durations.items() if source == service)
    delays = total([span.delays[service]] if service in span.delays else [])
    available, down = health.availability(policy, span.transitions.get(service, ()), span.start_us, span.end_us)
    return Health(
        (
            available,
            health.errors(policy, outcomes[False], outcomes[True]),
            health.latency(policy, _p95(durations), durations.count),
            health.freshness(policy, _p95(delays), delays.count),
        ),
        down,
    )


def _p95(summary: Summary) -> float | None:
    return summary.quantile(_P95) if summary.count else None


def by_type(durations: Mapping[Told, Summary]) -> dict[str, Summary]:
    """Durations by event type, whoever told them."""
    found: dict[str, Summary] = defaultdict(Summary)
    for (event_type, _), summary in durations.items():
        found[event_type].merge(summary)
    return dict(found)
