"""The comparison as one table a place: a line for each kind of work, a column for each peer, the ratio, the bar."""

from collections.abc import Iterator, Mapping, Sequence

from bench.bus.bar import LINES, OURS, Line, Result

_COLUMNS = (OURS, "nats", "redis", "rabbit")


Results = Mapping[str, Sequence[Result]]


def rows(place: str, results: Results) -> list[str]:
    """The lines of the table for one place ("tmpfs" or "disk"), from what each found in its turns."""
    cells = [cell for turns in results.values() for result in turns for cell in result.values()]
    fsync = [cell["fsync_ms"] for cell in cells if isinstance(cell, dict) and "fsync_ms" in cell]
    head = f"data on {place}, fsync p50 {min(fsync):.3f} to {max(fsync):.3f} ms"
    columns = "".join(f"{name:>10}" for name in _COLUMNS)
    return [f"{head:45}{columns}{'ratio':>9}  bar", *_lines(place, results), "", *_sizes(results)]


def _lines(place: str, results: Results) -> Iterator[str]:
    for line in LINES:
        values = {name: line.of(name, turns) for name, turns in results.items()}
        if any(value is not None for value in values.values()):
            yield _row(line, place, values)


def _row(line: Line, place: str, values: Mapping[str, float | None]) -> str:
    cells = "".join(f"{_figure(values.get(name)):>10}" for name in _COLUMNS)
    ratio, reached = line.ratio(values), line.reached(place, values)
    verdict = "" if reached is None else " reached" if reached else " MISSED"
    return f"{line.title:45}{cells}{'' if ratio is None else f'{ratio:.2f}×':>9}  {line.bar(place)}{verdict}"


def _sizes(results: Results) -> list[str]:
    """Memory of the servers at its most, which has no bar here."""
    found = []
    for title, key in (("server memory when idle, MB", "rss_idle_mb"), ("server memory at the end, MB", "rss_end_mb")):
        most = {name: max((turn[key] for turn in turns if key in turn), default=None) for name, turns in results.items()}
        cells = "".join(f"{_figure(most.get(name)):>10}" for name in _COLUMNS)
        found.append(f"{title:45}{cells}")
    return found


def _figure(value: float | None) -> str:
    """Whole numbers from a hundred on, three digits after the point below."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"
