"""Subscriptions between the contract and the rules: filters, policies, and whether two definitions are the same."""

from datetime import timedelta

from google.protobuf import duration_pb2
from tooloo.bus.v1.subscription_pb2 import EventFilter, Subscription

from bus.deliveries import Policy
from bus.filters import ExpressionError, Filter
from bus.settings import BusSettings
from mesh import errors
from mesh.settings import duration

_OUTPUT_ONLY = (
    "state",
    "ack_floor",
    "head_position",
    "backlog",
    "oldest_unacknowledged_age",
    "in_flight",
    "members",
    "dead_letters",
    "create_time",
)


def filter_of(message: EventFilter) -> Filter:
    """The filter of a definition that has been checked."""
    return Filter(tuple(message.types), frozenset(message.sources), message.subject_prefix, dict(message.attributes), message.cel)


def checked_filter(message: EventFilter, field: str = "filter") -> Filter:
    """The filter that a caller gives in a field; INVALID_ARGUMENT when its expression does not compile."""
    return compiled(filter_of(message), f"{field}.cel")


def compiled(wanted: Filter, field: str) -> Filter:
    """The filter, its expression compiled; INVALID_ARGUMENT for the expression's field when it cannot be."""
    try:
        return wanted.compile()
    except ExpressionError as error:
        raise errors.invalid(field, str(error)) from error


def policy_of(definition: Subscription, settings: BusSettings) -> Policy:
    """The rules of a subscription; what it leaves open comes from the settings."""
    backoff = [_seconds(wait) for wait in definition.backoff] or [duration(wait).total_seconds() for wait in settings.backoff]
    return Policy(
        ack_deadline=_seconds(definition.ack_deadline) or settings.ack_deadline.total_seconds(),
        backoff=tuple(backoff) or (0.0,),
        max_deliveries=definition.max_deliveries or settings.max_deliveries,
        max_in_flight=definition.max_in_flight or settings.max_in_flight,
        order_by_subject=definition.order_by_subject,
        keep_dead_letters=not definition.discard_dead_letters,
    )


def normalized(definition: Subscription) -> Subscription:
    """A definition without what the bus itself fills in."""
    plain = Subscription()
    plain.CopyFrom(definition)
    plain.DiscardUnknownFields()
    for field in _OUTPUT_ONLY:
        plain.ClearField(field)  # type: ignore[arg-type]  # the stub wants literals; these are field names of the message
    return plain


def same(one: Subscription, other: Subscription) -> bool:
    """Whether two normalized definitions mean the same; where a subscription began does not count."""
    left, right = Subscription(), Subscription()
    left.CopyFrom(one)
    right.CopyFrom(other)
    left.ClearField("start")
    right.ClearField("start")
    return left == right


def duration_message(length: timedelta) -> duration_pb2.Duration:
    """The length of time as the contract writes it."""
    message = duration_pb2.Duration()
    message.FromTimedelta(length)
    return message


def silence_of(asked: duration_pb2.Duration, settings: BusSettings) -> float:
    """The longest silence of a stream, in seconds: what it asked for, within reason, or the setting."""
    seconds = _seconds(asked)
    return max(seconds, settings.shortest_heartbeat.total_seconds()) if seconds else settings.heartbeat.total_seconds()


def _seconds(message: duration_pb2.Duration) -> float:
    return message.seconds + message.nanos / 1e9
