"""Availability and fallback chains to messages of the contract and back."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import health_pb2, provider_pb2

from mesh import errors
from services.provider.availability import Outcome
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Cause, Chain, Link, Target
from services.provider.fallback_store import Stored
from services.provider.flows.overview import Entry
from services.provider.health_window import Figures
from services.provider.wire import to_timestamp

_FIELDS = {Cause.GENERAL: "general", Cause.CONTEXT_WINDOW: "context_window", Cause.CONTENT_POLICY: "content_policy"}


def to_outcome(target: Target, latency: timedelta, output_tokens: int, *, success: bool) -> Outcome:
    """The outcome that a caller tells; of a failure it tells no class, so it counts as the provider's error."""
    failure = None if success else Failure(FailureKind.SERVER_ERROR, "as a caller told")
    return Outcome(target, failure=failure, latency=latency or None, output_tokens=output_tokens)


def to_entry(entry: Entry) -> health_pb2.AvailabilityEntry:
    """How available one thing is."""
    message = health_pb2.AvailabilityEntry(
        **entry.resource._asdict(),
        state=provider_pb2.ProviderState.ValueType(entry.state),
        priority=health_pb2.Priority.ValueType(entry.priority),
        failures_in_row=entry.failures_in_row,
        in_flight=entry.in_flight,
        reason=entry.why,
    )
    if entry.seen is not None:
        message.window.CopyFrom(to_window(entry.seen))
    if entry.out is not None:
        message.cause, message.reason = health_pb2.UnavailableCause.ValueType(entry.out.cause), entry.out.reason
        message.since.CopyFrom(to_timestamp(entry.out.since))
        if entry.out.until is not None:
            message.until.CopyFrom(to_timestamp(entry.out.until))
    return message


def to_window(figures: Figures) -> health_pb2.HealthWindow:
    """What a rolling window holds."""
    window = health_pb2.HealthWindow(calls=figures.calls)
    for kind, count in figures.failures.items():
        window.failures.add(kind=health_pb2.FailureKind.ValueType(kind), count=count)
    for name in ("latency_p50", "latency_p95", "first_token_p50", "first_token_p95"):
        length = getattr(figures, name)
        if length is not None:
            getattr(window, name).CopyFrom(_duration(length))
    return window


def from_chain(message: health_pb2.FallbackChain) -> Chain:
    """The chain of a request; INVALID_ARGUMENT for a target that is neither a model nor an alias."""
    links = {
        cause: tuple(_link(item, f"chain.{field}[{place}]") for place, item in enumerate(getattr(message, field)))
        for cause, field in _FIELDS.items()
    }
    return Chain(message.chain_id, {cause: found for cause, found in links.items() if found}, message.description)


def to_chain(stored: Stored) -> health_pb2.FallbackChain:
    """A chain."""
    chain = stored.chain
    message = health_pb2.FallbackChain(
        chain_id=chain.chain_id,
        description=chain.description,
        create_time=to_timestamp(stored.created),
        update_time=to_timestamp(stored.updated),
    )
    for cause, found in chain.links.items():
        for link in found:
            target = link.target or Target("", "")
            getattr(message, _FIELDS[cause]).add(provider_id=target.provider_id, model=target.model, alias=link.alias)
    return message


def _link(message: health_pb2.FallbackTarget, field: str) -> Link:
    if message.alias and not message.provider_id and not message.model:
        return Link(alias=message.alias)
    if message.provider_id and message.model and not message.alias:
        return Link(Target(message.provider_id, message.model))
    raise errors.invalid(field, "give provider_id and model, or an alias alone")


def _duration(length: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(length)
    return message
