"""What a check found: how grave it is, what was seen, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    # the mesh runs, but not as it should
    WARN = "warn"
    # the mesh will not run, or its promises do not hold
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """What a check found. `meaning` and `todo` are empty where all is well."""

    check: str
    level: Level
    seen: str
    meaning: str = ""
    todo: str = ""


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, seen)


def warn(check: str, seen: str, meaning: str, todo: str) -> Finding:
    """Not as it should be."""
    return Finding(check, Level.WARN, seen, meaning, todo)


def fault(check: str, seen: str, meaning: str, todo: str) -> Finding:
    """It will not work."""
    return Finding(check, Level.FAULT, seen, meaning, todo)
