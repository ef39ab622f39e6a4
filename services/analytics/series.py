"""Names of metrics and their labels: what a series is, and which names are lengths of time."""

import json
from collections.abc import Mapping, Sequence

RESERVED = "tooloo."
DURATION = "tooloo.event.duration_seconds"
DELAY = "tooloo.event.delay_seconds"

_SECONDS = {"_seconds": 1.0, "_secs": 1.0, "_ms": 1e-3, "_milliseconds": 1e-3, "_us": 1e-6, "_microseconds": 1e-6, "_ns": 1e-9}


def seconds_per_unit(name: str) -> float | None:
    """Length of the unit of time that a name ends in, in seconds; None when it ends in none."""
    return next((scale for ending, scale in _SECONDS.items() if name.endswith(ending)), None)


def canonical(labels: Mapping[str, str]) -> str:
    """One text for each set of labels, whatever their order."""
    return json.dumps(dict(labels), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(text: str) -> dict[str, str]:
    """The labels of a canonical text."""
    labels: dict[str, str] = json.loads(text)
    return labels


def fits(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """True when the labels have every wanted "key=value"."""
    pairs = (item.partition("=") for item in wanted)
    return all(labels.get(key) == value for key, _, value in pairs)
