"""The lines of the comparison: what is measured, where the harness's results have its figure, and the bar that ours must reach."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Result = Mapping[str, Any]
OURS = "tooloo"
# the better one of these is the measure; RabbitMQ is shown beside
MEASURE = ("nats", "redis")


@dataclass(frozen=True)
class Line:
    """One line of the table: `figure` of the harness's scenarios whose name matches `scenario`; of several the best one counts.

    `bars` says for each place how many times the peers' better figure ours must be at least, or, of a time, may be at most; of an
    `absolute` line it is the figure itself.
    """

    title: str
    scenario: str
    figure: str
    bars: Mapping[str, float] = field(default_factory=dict)
    is_time: bool = False
    absolute: bool = False
    our_scenario: str = ""
    peers: tuple[str, ...] = MEASURE

    def of(self, name: str, results: Iterable[Result]) -> float | None:
        """The best figure of ours or a peer; None where it was not measured, or did not come to its end."""
        scenario = self.our_scenario if name == OURS and self.our_scenario else self.scenario
        found = [
            cell[self.figure]
            for result in results
            for key, cell in result.items()
            if re.fullmatch(scenario, key) and self.figure in cell and cell.get("complete", True)
        ]
        return self._best(found) if found else None

    def _best(self, values: list[float]) -> float:
        return min(values) if self.is_time else max(values)

    def ratio(self, values: Mapping[str, float | None]) -> float | None:
        """Ours to the better of the peers; None when one of both is missing."""
        ours = values.get(OURS)
        theirs = [value for name in self.peers if (value := values.get(name)) is not None]
        return ours / self._best(theirs) if ours is not None and theirs else None

    def bar(self, place: str) -> str:
        """The bar in words; "" where there is none."""
        if place not in self.bars:
            return ""
        return f"{'≤' if self.is_time else '≥'} {self.bars[place]:g}{' ms' if self.absolute else '×'}"

    def reached(self, place: str, values: Mapping[str, float | None]) -> bool | None:
        """Whether ours reaches the bar; None where there is no bar, or nothing to say."""
        measured = values.get(OURS) if self.absolute else self.ratio(values)
        if measured is None or place not in self.bars:
            return None
        return measured <= self.bars[place] if self.is_time else measured >= self.bars[place]


_BATCHED, _ONE, _END_TO_END = r"b_\d+", r"a_\d+", r"c_.*"
LINES = (
    Line("batched publish, events/s", _BATCHED, "ev_s", {"tmpfs": 4, "disk": 5}),
    Line("the same, to NATS's atomic batch", r"b_atomic_\d+", "ev_s", {"tmpfs": 3}, our_scenario=_BATCHED, peers=("nats",)),
    Line("64 waiting publishers, events/s", r"h_\d+", "ev_s", {"tmpfs": 2, "disk": 3}),
    Line("catch-up, events/s", r"e_.*", "ev_s", {"tmpfs": 4}),
    Line("catch-up, filter of 1 %, matched/s", r"f_.*", "ev_s", {"tmpfs": 2}),
    Line("fan-out to 6, deliveries/s", r"d_.*", "delivered_ev_s", {"tmpfs": 4}),
    Line("end to end at 1,000/s, p50 ms", _END_TO_END, "p50_ms", {"tmpfs": 2.5}, is_time=True),
    Line("end to end at 1,000/s, p99.9 ms", _END_TO_END, "p999_ms", {"tmpfs": 5}, is_time=True, absolute=True),
    Line("one at a time, p50 ms", _ONE, "p50_ms", {"tmpfs": 3}, is_time=True),
    Line("in process, one at a time, p50 ms", _ONE, "p50_ms", {"disk": 1}, is_time=True, our_scenario="in_process"),
)
