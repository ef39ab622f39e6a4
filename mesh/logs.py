"""JSON logs, one object a line, with the trace of the call that is being answered."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from mesh import call, logfile
from mesh.logfile import FileHandler

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: time, level, service, logger, message, trace_id, and whatever `extra` gave."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := call.current.get().trace_id:
            entry["trace_id"] = trace
        entry.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


# what gRPC logs of callers, with a traceback each: a header that is not UTF-8, which HTTP allows and anybody may send, and a
# message that did not arrive because whoever it was for has hung up
_OF_CALLERS = ("Invalid encoding on", "ExecuteBatchError raised in core by servicer method")


def _no_caller_writes_logs(record: logging.LogRecord) -> bool:
    """False for what callers alone cause: it is nobody's error here."""
    return not record.getMessage().startswith(_OF_CALLERS)


def setup(service: str, level: str, file: Path | None = None) -> None:
    """Sends every log record of this process as JSON to standard error, or to a file when standard error is for people."""
    given = os.environ.get(logfile.VARIABLE)
    handler: logging.Handler
    if file:
        handler = FileHandler.opened(file)
    elif given:
        handler = FileHandler.standard(Path(given))
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # these say at INFO what our own access log says already
    for noisy in ("httpx", "httpcore", "asyncio", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_no_caller_writes_logs)
