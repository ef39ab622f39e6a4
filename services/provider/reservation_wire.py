"""Reservations and estimates to messages of the contract and back."""

from datetime import timedelta

from tooloo.provider.v1 import reservation_service_pb2 as api

from mesh import errors
from services.provider import wire
from services.provider.estimating import Learned, Tuning, output_tokens, typical
from services.provider.flows.reserving import Ask, Used
from services.provider.labels import Labels
from services.provider.reservation import Reservation
from services.provider.settings import ProviderSettings


def to_reservation(reservation: Reservation) -> api.Reservation:
    """A reservation."""
    message = api.Reservation(
        reservation_id=reservation.reservation_id,
        state=api.Reservation.State.ValueType(reservation.state),
        labels=reservation.labels.values,
        amount=wire.to_money(reservation.amount),
        input_tokens=reservation.input_tokens,
        output_tokens=reservation.output_tokens,
        create_time=wire.to_timestamp(reservation.created),
        expire_time=wire.to_timestamp(reservation.expires),
        usage_id=reservation.usage_id,
        late=reservation.late,
    )
    if reservation.ended is not None:
        message.end_time.CopyFrom(wire.to_timestamp(reservation.ended))
    if reservation.cost is not None:
        message.cost.CopyFrom(wire.to_money(reservation.cost))
    return message


def from_reserve(known: ProviderSettings, request: api.ReserveRequest) -> Ask:
    """What a request wants to set aside."""
    labels = wire.from_labels(known, request.labels, provider=request.provider_id, model=request.model, user=request.user_id)
    given = request.HasField("amount")
    if not given and not (labels.provider_id and labels.model):
        raise errors.invalid("amount", "give it, or a provider and a model whose price is known")
    return Ask(
        labels,
        wire.from_money(request.amount, "amount") if given else None,
        request.input_tokens,
        request.output_tokens or None,
        request.max_output_tokens,
        _length(request, "ttl"),
        _length(request, "max_wait"),
        dry_run=request.dry_run,
    )


def _length(request: api.ReserveRequest | api.ExtendRequest, field: str) -> timedelta | None:
    return wire.from_duration(getattr(request, field), field) if request.HasField(field) else None  # type: ignore[arg-type] # a name of a field


def ttl_of(request: api.ExtendRequest) -> timedelta | None:
    """How much longer a reservation shall stand; None: the server's choice."""
    return _length(request, "ttl")


def from_settle(request: api.SettleRequest, reserved: Labels) -> Used:
    """What a request says was used."""
    if request.cached_input_tokens > request.input_tokens:
        raise errors.invalid("cached_input_tokens", "they are part of input_tokens, so they cannot be more")
    called = {name: value for name, value in (("provider", request.provider_id), ("model", request.model)) if value}
    return Used(
        request.input_tokens,
        request.output_tokens,
        request.cached_input_tokens,
        wire.from_money(request.cost, "cost") if request.HasField("cost") else None,
        reserved.plus(**called),
        request.outcome,
        wire.from_duration(request.latency, "latency"),
        request.selection_id,
        wire.from_money(request.best_cost, "best_cost") if request.HasField("best_cost") else None,
    )


def to_estimate(model: tuple[str, str], user_id: str, everybody: Learned, user: Learned, tuning: Tuning) -> api.Estimate:
    """What is expected of a model, for everybody or a user."""
    seen = user if user_id else everybody
    return api.Estimate(
        provider_id=model[0],
        model=model[1],
        user_id=user_id,
        calls=seen.calls,
        typical_output_tokens=typical(seen),
        output_tokens=output_tokens(everybody, user, tuning),
        ratio=seen.ratio,
        covered=seen.covered,
        characters_per_token=everybody.characters_per_token,
    )
