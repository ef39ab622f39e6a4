"""What belongs to the call being answered: trace, correlation, idempotency key; carried in a context variable."""

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from mesh.ids import new_id

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_SAFE_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")


@dataclass(frozen=True)
class Call:
    """The circumstances of one call or one heard event."""

    method: str = ""
    traceparent: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    idempotency_key: str = ""

    @property
    def trace_id(self) -> str:
        """The 32 hex digits of the trace, or ""."""
        match = _TRACEPARENT.match(self.traceparent)
        return match[1] if match else ""


_NONE = Call()
current: ContextVar[Call] = ContextVar("current_call", default=_NONE)


def new_traceparent(parent: str = "") -> str:
    """A traceparent (W3C Trace Context) for a new span: in the parent's trace when it has a valid one, else in a new trace."""
    match = _TRACEPARENT.match(parent)
    trace, flags = (match[1], match[3]) if match else (os.urandom(16).hex(), "01")
    return f"00-{trace}-{os.urandom(8).hex()}-{flags}"


def from_metadata(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Call:
    """Reads a call's circumstances from its metadata; what is missing or not well formed is made anew."""
    found = {key: value for key, value in metadata if isinstance(value, str)}
    correlation = found.get("x-correlation-id", "") or found.get("x-request-id", "")
    return Call(
        method=method,
        traceparent=new_traceparent(found.get("traceparent", "")),
        correlation_id=correlation if _SAFE_ID.match(correlation) else new_id(),
        causation_id="",
        idempotency_key=found.get("idempotency-key", ""),
    )


def to_metadata(call: Call) -> list[tuple[str, str]]:
    """Metadata that carries trace and correlation to the next service."""
    metadata = [("traceparent", new_traceparent(call.traceparent))]
    if call.correlation_id:
        metadata.append(("x-correlation-id", call.correlation_id))
    return metadata
