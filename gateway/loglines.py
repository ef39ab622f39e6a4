"""A line of a log file as a record: JSON of our own processes, JSON of the access log, Envoy's own text, and anything else."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from google.rpc.code_pb2 import Code

from envoy.statistics import Outcome
from gateway.traffic import is_failure, is_refusal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ACCESS = "access"
DEBUG, INFO, WARNING, ERROR, CRITICAL = "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"
# a call that reached no service is the door's
_DOOR = "envoy"
_GRPC = {number: name for name, number in Code.items()}
LEVELS = (DEBUG, INFO, WARNING, ERROR, CRITICAL)
_QUOTED = {level: [f'"{each}"'.encode() for each in LEVELS[number:]] for number, level in enumerate(LEVELS)}
_OF_ENVOY = {"trace": DEBUG, "debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR, "critical": CRITICAL}
_ENVOY = re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3})\]\[\d+\]\[(\w+)\]\[(\w+)\] (.*)$", re.DOTALL)
# what a process prints without a logger is what it dies of
_DYING = re.compile(rb"^(Traceback |Fatal |\w*Error\b)")


@dataclass(frozen=True)
class Record:
    """A log line."""

    time: datetime
    service: str
    process: str
    level: str
    logger: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def parse(process: str, line: bytes) -> Record | None:
    """The record of a line; None for text that carries no time of its own and so belongs to the line before."""
    if line.startswith(b"{"):
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        return _access(entry) if process == ACCESS else _own(process, entry)
    match = _ENVOY.match(line.decode(errors="replace"))
    if match is None:
        return None
    time, level, logger, message = match.groups()
    moment = datetime.strptime(time, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    return Record(moment, _service_of(process), process, _OF_ENVOY.get(level, INFO), logger, message)


def plain(process: str, text: bytes, time: datetime) -> Record:
    """Lines without a time of their own as one record, at the time of what stands before them."""
    level = ERROR if _DYING.match(text) else INFO
    return Record(time, _service_of(process), process, level, "", text.decode(errors="replace"))


def _service_of(process: str) -> str:
    """The service of a process: its name without the number of the replica."""
    name, dash, number = process.rpartition("-")
    return name if dash and number.isdigit() else process


def _own(process: str, entry: dict[str, Any]) -> Record:
    record = Record(
        time=_time(entry.pop("time", None)),
        service=str(entry.pop("service", _service_of(process))),
        process=process,
        level=_level(entry.pop("level", INFO)),
        logger=str(entry.pop("logger", "")),
        message=str(entry.pop("message", "")),
    )
    return replace(record, fields=entry)


def _level(name: object) -> str:
    return name if isinstance(name, str) and name in LEVELS else INFO


def _access(entry: dict[str, Any]) -> Record:
    """A call: refused by the caller's fault is a warning, failed an error. A trace has the name that other lines give it."""
    outcome = Outcome("", _number(entry.get("status"), 0), _number(str(entry.pop("grpc_status", "")).strip("-"), -1))
    milliseconds = _number(entry.get("duration_ms"), 0)
    # the line has the time of the call's begin but stands where it ended; after a stream of an hour that would be out of order
    time = _time(entry.pop("time", None)) + timedelta(milliseconds=milliseconds)
    ended = outcome.http_status if outcome.grpc_status < 0 else _GRPC.get(outcome.grpc_status, outcome.grpc_status)
    words = (entry.get("method"), entry.get("path"), ended, f"{milliseconds} ms")
    trace = str(entry.get("traceparent") or "").split("-")
    fields = {key: value for key, value in entry.items() if value is not None and str(value).strip("-")}
    if outcome.grpc_status >= 0:
        fields["grpc_status"] = outcome.grpc_status
    if len(trace) == 4:  # noqa: PLR2004 - version, trace, span, flags
        fields["trace_id"] = trace[1]
    service = str(entry.get("service") or _DOOR)
    return Record(time, service, ACCESS, _level_of(outcome), ACCESS, " ".join(map(str, words)), fields)


def _level_of(outcome: Outcome) -> str:
    if is_failure(outcome):
        return ERROR
    return WARNING if is_refusal(outcome) else INFO


def _number(value: object, otherwise: int) -> int:
    return int(str(value)) if str(value).isascii() and str(value).isdigit() else otherwise


def _time(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return EPOCH
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Filter:
    """Which records are wanted; what is empty asks nothing."""

    service: str = ""
    process: str = ""
    min_level: str = DEBUG
    contains: str = ""

    def line(self, process: str, line: bytes) -> bool:
        """False when the text of a line rules it out, so that it need not be parsed: that takes ten times as long."""
        if self.process not in ("", process) or (line.startswith(b"{") and not self._may_be(process, line)):
            return False
        if not self.contains:
            return True
        text = line.decode(errors="replace").lower()
        return any(spelt in text for spelt in self._spellings)

    @cached_property
    def _spellings(self) -> set[str]:
        """The text as it was given, for whoever looks for a piece of the line, and as JSON has it: a quote is two letters there."""
        return {self.contains.lower(), json.dumps(self.contains, ensure_ascii=False)[1:-1].lower()}

    def _may_be(self, process: str, line: bytes) -> bool:
        """False when a JSON line is surely of another service or less severe."""
        # who does not say a service in the line has the one of its process
        if self.service not in ("", _service_of(process), _DOOR) and f'"{self.service}"'.encode() not in line:
            return False
        if self.min_level in (DEBUG, INFO):
            return True
        if process == ACCESS:
            return not (b'"status":200,' in line and (b'"grpc_status":"--"' in line or b'"grpc_status":"-0"' in line))
        return any(name in line for name in _QUOTED[self.min_level])

    def record(self, record: Record) -> bool:
        """True for a record that is wanted, its text aside."""
        return (not self.service or record.service == self.service) and LEVELS.index(record.level) >= LEVELS.index(self.min_level)
