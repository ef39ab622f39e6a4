"""The comparison as one table a place: a line for each kind of work, a column for each peer, the ratio, the bar."""

from collections.abc import Iterator, Mapping

from bench.bus.bar import LINES, OURS, Line, Result

_COLUMNS = (OURS, "nats", "redis", "rabbit")


def rows(place: str, results: Mapping[str, Result]) -> list[str]:
    """The lines of the table for one place ("tmpfs" or "disk")."""
    fsync = [
        cell["fsync_ms"] for result in results.values() for cell in result.values() if isinstance(cell, dict) and "fsync_ms" in cell
    ]
    head = f"data on {place}, fsync p50 {min(fsync):.3f} to {max(fsync):.3f} ms"
    columns = "".join(f"{name:>10}" for name in _COLUMNS)
    return [f"{head:45}{columns}{'ratio':>9}  bar", *_lines(place, results), "", *_sizes(results)]


def _lines(place: str, results: Mapping[str, Result]) -> Iterator[str]:
    for line in LINES:
        values = {name: line.of(name, result) for name, result in results.items()}
        if any(value is not None for value in values.values()):
            yield _row(line, place, values)


def _row(line: Line, place: str, values: Mapping[str, float | None]) -> str:
    cells = "".join(f"{_figure(values.get(name)):>10}" for name in _COLUMNS)
    ratio, reached = line.ratio(values), line.reached(place, values)
    verdict = "" if reached is None else " reached" if reached else " MISSED"
    return f"{line.title:45}{cells}{'' if ratio is None else f'{ratio:.2f}×':>9}  {line.bar(place)}{verdict}"


def _sizes(results: Mapping[str, Result]) -> list[str]:
    """Memory of the servers, which has no bar here."""
    found = []
    for title, key in (("server memory when idle, MB", "rss_idle_mb"), ("server memory at the end, MB", "rss_end_mb")):
        cells = "".join(f"{_figure(results.get(name, {}).get(key)):>10}" for name in _COLUMNS)
        found.append(f"{title:45}{cells}")
    return found


def _figure(value: float | None) -> str:
    """Whole numbers from a hundred on, three digits after the point below."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"
