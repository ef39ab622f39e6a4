"""What a publish must be to enter the log: known types from their owners, data that every reader can decode and print."""

from collections.abc import Iterable, Sequence

from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.event.v1.event_pb2 import Event

from mesh import cloudevents, contracts, errors
from mesh.soundness import is_sound

_MAX_VIOLATIONS = 16
Violation = tuple[ErrorReason.ValueType, str, str]


def check_publish(events: Sequence[Event], max_event_bytes: int) -> None:
    """INVALID_ARGUMENT that names every field at fault, e.g. "events[2].type"; nothing when all are in order."""
    violations: list[Violation] = []
    for index, event in enumerate(events):
        violations.extend((reason, f"events[{index}]{field}", text) for reason, field, text in _violations(event, max_event_bytes))
        if len(violations) >= _MAX_VIOLATIONS:
            break
    if violations:
        raise errors.invalid_fields([(field, text) for _, field, text in violations], reason=violations[0][0])


def _violations(event: Event, max_event_bytes: int) -> Iterable[Violation]:
    unknown, mismatch = ErrorReason.ERROR_REASON_UNKNOWN_EVENT_TYPE, ErrorReason.ERROR_REASON_EVENT_DATA_MISMATCH
    invalid = ErrorReason.ERROR_REASON_INVALID_FIELD
    size = event.ByteSize()
    if size > max_event_bytes:
        yield invalid, "", f"the event has {size} bytes; at most {max_event_bytes} are allowed"
    if not is_sound(event.time):
        yield invalid, ".time", "must lie in the years 1 to 9999"
    if event.attributes and (taken := sorted(cloudevents.RESERVED & set(event.attributes))):
        # such an event could never be told as a CloudEvent
        yield invalid, f".attributes[{taken[0]!r}]", "CloudEvents keeps this name for itself; take another"
    entry = contracts.catalogue().get(event.type)
    if entry is None:
        yield unknown, ".type", f"{event.type!r} is not in the catalogue; GET /api/v1/events/catalogue lists it"
        return
    if event.source != entry.owner:
        yield unknown, ".source", f"only {entry.owner!r} may publish {event.type}"
    if event.data.TypeName() != entry.message:
        yield mismatch, ".data", f"{event.type} carries {entry.message}, not {event.data.TypeName()!r}"
    elif not is_sound(event.data):
        yield mismatch, ".data", f"the bytes are no {entry.message} that can be decoded and written as JSON"
