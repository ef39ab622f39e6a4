"""Domain values to messages of the contract and back; what a message says wrongly becomes a refusal that names the field."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from tooloo.provider.v1 import budget_pb2, provider_pb2

from mesh import errors
from services.provider import labels as labels_module
from services.provider import money
from services.provider.budget import Budget, Mode, Standing
from services.provider.health import ModelHealth
from services.provider.labels import Labels
from services.provider.pricing import Price
from services.provider.quality import LearnedQuality
from services.provider.registry import Model
from services.provider.report import Group
from services.provider.routing import Ranked, Weights
from services.provider.settings import ProviderSettings
from services.provider.windows import EPOCH, Kind, Period, Rule, UnknownTimeZoneError, zone

_DEFAULT_THRESHOLDS = (50, 80, 100)


def to_money(amount: int) -> Money:
    """google.type.Money of nano units."""
    units, nanos = money.to_parts(amount)
    return Money(currency_code=money.CURRENCY, units=units, nanos=nanos)


def from_money(message: Money, field: str) -> int:
    """Nano units of a google.type.Money; INVALID_ARGUMENT for another currency or parts of different signs."""
    if message.currency_code != money.CURRENCY:
        raise errors.invalid(f"{field}.currency_code", f"must be {money.CURRENCY}, the currency of the price lists")
    try:
        return money.from_parts(message.units, message.nanos)
    except money.MoneyError as error:
        raise errors.invalid(field, str(error)) from error


def to_timestamp(moment: datetime) -> Timestamp:
    """The Timestamp of an aware datetime."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def from_timestamp(stamp: Timestamp, field: str) -> datetime:
    """Aware UTC datetime of a Timestamp; INVALID_ARGUMENT when it is none."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise errors.invalid(field, "must be a time such as 2026-11-22T10:00:00Z") from error


def from_span(request: Message) -> tuple[datetime | None, datetime | None]:
    """The fields `from` (a word of Python) and `to` of a request; None for what is not given."""
    given = {name: getattr(request, name) for name in ("from", "to") if request.HasField(name)}
    start, end = (from_timestamp(given[name], name) if name in given else None for name in ("from", "to"))
    return start, end


def from_duration(length: Duration, field: str) -> timedelta:
    """The timedelta of a Duration; INVALID_ARGUMENT when it is none."""
    try:
        return length.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise errors.invalid(field, "must be a length of time such as 1.5s") from error


def to_duration(length: timedelta) -> Duration:
    """The Duration of a timedelta."""
    message = Duration()
    message.FromTimedelta(length)
    return message


def checked_zone(name: str, field: str) -> str:
    """The name of a time zone, UTC for an empty one; INVALID_ARGUMENT for one that does not exist."""
    try:
        zone(name)
    except UnknownTimeZoneError as error:
        raise errors.invalid(field, str(error)) from error
    return name or "UTC"


def from_labels(
    known: ProviderSettings, given: Mapping[str, str], *, provider: str = "", model: str = "", user: str = "", field: str = "labels"
) -> Labels:
    """Labels said in three fields and a map; INVALID_ARGUMENT for what cannot be a label, and where they contradict each other."""
    try:
        joined = labels_module.joined({"provider": provider, "model": model, "user": user}, given)
        return labels_module.checked(joined, most=known.max_labels, longest=known.max_label_length)
    except labels_module.LabelError as error:
        raise errors.invalid(f"{field}.{error.name}", str(error)) from error


def from_filter(known: ProviderSettings, items: Iterable[str], *, user: str = "") -> Labels:
    """Labels written as "name=value" in a query, and the user of a field of its own; INVALID_ARGUMENT names the field `labels`."""
    try:
        joined = labels_module.joined({"user": user}, labels_module.parse_filter(items))
        return labels_module.checked(joined, most=known.max_labels, longest=known.max_label_length)
    except labels_module.LabelError as error:
        raise errors.invalid("labels", str(error)) from error


def from_scope(known: ProviderSettings, scope: budget_pb2.BudgetScope, field: str) -> Labels:
    """What a budget or policy covers."""
    return from_labels(
        known, scope.labels, provider=scope.provider_id, model=scope.model, user=scope.user_id, field=f"{field}.labels"
    )


def to_scope(labels: Labels) -> budget_pb2.BudgetScope:
    """What a budget covers."""
    return budget_pb2.BudgetScope(provider_id=labels.provider_id, model=labels.model, user_id=labels.user_id, labels=labels.further)


def from_window(window: budget_pb2.BudgetWindow, field: str) -> Rule:
    """How a budget's windows follow each other; INVALID_ARGUMENT for fields that do not belong together."""
    kind = Kind(window.kind or Kind.CALENDAR)
    lengthy = kind in (Kind.FIXED, Kind.ROLLING)
    if lengthy != window.HasField("length"):
        raise errors.invalid(f"{field}.length", "give it for a fixed or rolling window, and only there")
    if window.HasField("anchor") and kind is not Kind.FIXED:
        raise errors.invalid(f"{field}.anchor", "only a fixed window has one")
    if window.period and kind is not Kind.CALENDAR:
        raise errors.invalid(f"{field}.period", "only a window of the calendar has one")
    return Rule(
        kind,
        Period(window.period or Period.MONTH),
        checked_zone(window.time_zone, f"{field}.time_zone"),
        from_duration(window.length, f"{field}.length") if lengthy else timedelta(),
        from_timestamp(window.anchor, f"{field}.anchor") if window.HasField("anchor") else EPOCH,
    )


def to_window(rule: Rule) -> budget_pb2.BudgetWindow:
    """How a budget's windows follow each other."""
    window = budget_pb2.BudgetWindow(kind=budget_pb2.BudgetWindow.Kind.ValueType(rule.kind))
    if rule.kind is Kind.CALENDAR:
        window.period = budget_pb2.BudgetWindow.Period.ValueType(rule.period)
        window.time_zone = rule.time_zone
    if rule.length:
        window.length.CopyFrom(to_duration(rule.length))
    if rule.kind is Kind.FIXED:
        window.anchor.CopyFrom(to_timestamp(rule.anchor))
    return window


def from_budget(known: ProviderSettings, message: budget_pb2.Budget, budget_id: str, now: datetime) -> Budget:
    """The budget of a request, with the server's choices where it leaves them open."""
    scope = from_scope(known, message.scope, "budget.scope")
    if message.each in scope.values or message.each in labels_module.RESERVED:
        raise errors.invalid("budget.each", "name a label that the scope leaves open, so that there is more than one share")
    return Budget(
        budget_id,
        from_money(message.limit, "budget.limit"),
        message.display_name,
        scope,
        from_window(message.window, "budget.window"),
        tuple(sorted(message.thresholds)) or _DEFAULT_THRESHOLDS,
        Mode(message.mode or Mode.NOTIFY),
        message.each,
        now,
        now,
    )


def to_budget(budget: Budget) -> budget_pb2.Budget:
    """A budget."""
    return budget_pb2.Budget(
        budget_id=budget.budget_id,
        display_name=budget.display_name,
        scope=to_scope(budget.scope),
        window=to_window(budget.rule),
        limit=to_money(budget.limit),
        thresholds=budget.thresholds,
        mode=budget_pb2.Budget.Mode.ValueType(budget.mode),
        each=budget.each,
        create_time=to_timestamp(budget.created),
        update_time=to_timestamp(budget.updated),
    )


def to_standing(standing: Standing) -> budget_pb2.BudgetStanding:
    """A budget and how it stands."""
    return budget_pb2.BudgetStanding(
        budget=to_budget(standing.budget),
        spent=to_money(standing.spent),
        remaining=to_money(standing.remaining),
        period_start=to_timestamp(standing.window.start),
        period_end=to_timestamp(standing.window.end),
        told_thresholds=standing.told,
        reserved=to_money(standing.reserved),
        holder=standing.holder,
    )


def to_row(group: Group) -> budget_pb2.ReportRow:
    """One row of a report."""
    row = budget_pb2.ReportRow(
        key=group.key,
        provider_id=group.provider_id,
        model=group.model,
        cost=to_money(group.sums.cost),
        input_tokens=group.sums.input_tokens,
        output_tokens=group.sums.output_tokens,
        calls=group.sums.calls,
        saved=to_money(group.sums.saved),
        compared_calls=group.sums.compared,
    )
    if group.start is not None:
        row.start.CopyFrom(to_timestamp(group.start))
    return row


def to_candidate(ranked: Ranked, weights: Weights) -> provider_pb2.Candidate:
    """A candidate with the parts of its score, or with the reason it is out."""
    option = ranked.option
    candidate = provider_pb2.Candidate(
        provider_id=option.provider_id,
        model=option.model,
        score=ranked.score,
        exclusion=provider_pb2.ExclusionReason.ValueType(ranked.exclusion or 0),
        exclusion_detail=ranked.detail,
        in_flight=option.in_flight,
        expected_quality=option.quality,
        quality_deviation=option.deviation,
        quality_evidence=option.evidence,
        cached_input_tokens=option.cached_tokens,
    )
    if option.cost is not None:
        candidate.estimated_cost.CopyFrom(to_money(option.cost))
    if ranked.parts is not None:
        for name in ("cost", "quality", "speed", "uptime"):
            part = provider_pb2.ScorePart(value=getattr(ranked.parts, name), weight=getattr(weights, name))
            getattr(candidate.parts, name).CopyFrom(part)
    return candidate


def to_price(price: Price) -> provider_pb2.ModelPrice:
    """A list price."""
    message = provider_pb2.ModelPrice(
        input_per_million=to_money(price.base.input),
        output_per_million=to_money(price.base.output),
        base_price_up_to_tokens=price.tiers[0][0] if price.tiers else 0,
    )
    if price.base.cached_input is not None:
        message.cached_input_per_million.CopyFrom(to_money(price.base.cached_input))
    return message


def to_model(model: Model, health: ModelHealth, quality: float, scores: int, learned: LearnedQuality | None) -> provider_pb2.Model:
    """A model as the registry knows it and as it was seen; `quality` is the expected one, moved by so many scores."""
    speed = health.tokens_per_second
    message = provider_pb2.Model(
        model=model.name,
        context_window=model.context_window,
        capabilities=model.capabilities,
        free=model.price is not None and model.price.free,
        quality=quality,
        quality_source=_source(scores > 0),
        tokens_per_second=model.tokens_per_second if speed is None else speed,
        speed_source=_source(speed is not None),
        uptime=health.uptime,
        outcomes=health.outcomes,
        prior_quality=model.quality,
    )
    if learned is not None:
        message.learned_quality, message.quality_evidence = learned.quality, learned.evidence
        message.quality_outcomes = learned.outcomes
    if model.price is not None:
        message.price.CopyFrom(to_price(model.price))
    return message


def _source(observed: bool) -> provider_pb2.FigureSource.ValueType:
    return provider_pb2.FIGURE_SOURCE_OBSERVED if observed else provider_pb2.FIGURE_SOURCE_PRIOR
