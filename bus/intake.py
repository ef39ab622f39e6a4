"""How a publish gets in: by the scanner when it is surely valid, else by protobuf, protovalidate and the catalogue.

The scanner only says yes; what it is not sure of is checked in full, and that alone words the refusals. So each rule may stand in
two places, never in two wordings, and a test holds the two together.
"""

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import DecodeError
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishStreamRequest
from tooloo.event.v1.event_pb2 import Event

from bus import shapes
from bus.batches import Append
from bus.check import check_publish
from bus.native import Scanned, Scanner
from mesh import errors
from mesh.boundary import violations_of

_NONE: Mapping[str, int] = {}


class Intake:
    """Takes publishes for a log whose types have these numbers: (number, type, source)."""

    def __init__(self, numbers: Iterable[tuple[int, str, str]], max_event_bytes: int) -> None:
        self._scanner = Scanner(*shapes.known_types(numbers))
        self._max_event_bytes = max_event_bytes

    def request(self, raw: bytes) -> Append:
        """The publish in the bytes of a PublishRequest; INVALID_ARGUMENT by field when it may not enter the log."""
        scanned = self._scanner.scan(raw, self._max_event_bytes)
        if scanned and not scanned.sequence:
            return _append(scanned)
        try:
            request = PublishRequest.FromString(raw)
        except DecodeError:
            raise errors.malformed_body("request of tooloo.bus.v1.EventBus/Publish") from None
        return self.message(request)

    def stream_request(self, raw: bytes) -> tuple[Append, int]:
        """The publish in the bytes of a PublishStreamRequest, and its sequence."""
        scanned = self._scanner.scan(raw, self._max_event_bytes)
        if scanned and scanned.sequence:
            return _append(scanned), scanned.sequence
        try:
            request = PublishStreamRequest.FromString(raw)
        except DecodeError:
            raise errors.malformed_body("request of tooloo.bus.v1.EventBus/PublishStream") from None
        if found := violations_of(request):
            raise errors.invalid_fields(found)
        return self.events(request.events), request.sequence

    def message(self, request: PublishRequest) -> Append:
        """The publish in a decoded request."""
        if found := violations_of(request):
            raise errors.invalid_fields(found)
        return self.events(request.events, request.expected_versions)

    def events(self, events: Sequence[Event], expected: Mapping[str, int] = _NONE) -> Append:
        """The publish of events that keep the contract's rules for fields; the bus's own are checked here."""
        check_publish(events, self._max_event_bytes)
        request = PublishRequest(events=events)
        # what this contract does not know could be taken for something else in a record, and positions are the log's to give
        request.DiscardUnknownFields()
        for event in request.events:
            event.ClearField("position")
        scanned = self._scanner.scan(request.SerializeToString(), self._max_event_bytes, trusted=True)
        if scanned is None:
            raise ValueError("a checked publish could not be taken apart")
        return _append(scanned, dict(expected))


def _append(scanned: Scanned, expected: Mapping[str, int] = _NONE) -> Append:
    return Append(scanned.events, scanned.count, scanned.ids, scanned.types, scanned.subjects, expected)
