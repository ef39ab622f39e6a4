"""Reports on the ledger: which span, by what, in pages."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from itertools import dropwhile, islice

from mesh import errors, page
from mesh.clock import to_us
from mesh.db import Transaction
from services.provider import forecasting, usage_store
from services.provider.forecasting import HISTORY, Forecast
from services.provider.labels import Labels
from services.provider.report import MODEL, PROVIDER, TIMES, Group, by_time
from services.provider.settings import ProviderSettings
from services.provider.usage_store import Span
from services.provider.windows import Period, Window, window_at

_DEFAULT_SPAN = timedelta(days=30)
_MICROSECOND = timedelta(microseconds=1)


def span_of(known: ProviderSettings, start: datetime | None, end: datetime | None, labels: Labels, now: datetime) -> Span:
    """What a report covers; INVALID_ARGUMENT when it is empty or too long."""
    # an end that is not given is after what was recorded at this very instant
    end = end or now + _MICROSECOND
    start = start or end - _DEFAULT_SPAN
    if start >= end:
        raise errors.invalid("from", "must be before `to`")
    if end - start > known.max_report_span:
        raise errors.invalid("from", f"must be at most {known.max_report_span.days} days before `to` (setting max_report_span)")
    return Span(start, end, labels)


async def groups(tx: Transaction, group_by: str, span: Span, zone: str, cursor: Mapping[str, object], limit: int) -> list[Group]:
    """At most `limit` rows of a report after the cursor."""
    provider, model, key = (page.text_of(cursor, name) for name in ("provider", "model", "key"))
    if group_by in TIMES:
        rows = iter(by_time(await usage_store.quarters(tx, span), group_by, zone))
        if cursor:
            # by time and not by key: the row of before may have left a span that moves with the time
            shown = page.whole_of(cursor, "start")
            rows = dropwhile(lambda group: group.start is not None and to_us(group.start) <= shown, rows)
        return list(islice(rows, limit))
    if group_by == MODEL:
        return await usage_store.groups_by_model(tx, span, (provider, model) if cursor else None, limit)
    if group_by in ("", PROVIDER):
        return await usage_store.groups_by_provider(tx, span, provider if cursor else None, limit)
    return await usage_store.groups_by_label(tx, span, group_by, key if cursor else None, limit)


def cursor_after(group: Group) -> dict[str, object]:
    """The cursor of the page after a row."""
    start = {} if group.start is None else {"start": to_us(group.start)}
    return {"key": group.key, "provider": group.provider_id, "model": group.model, **start}


async def forecast(tx: Transaction, labels: Labels, zone: str, now: datetime) -> tuple[Window, Forecast]:
    """What the running month of a time zone is expected to come to."""
    month = window_at(now, Period.MONTH, zone)
    history = Span(min(month.start, now - HISTORY), now + _MICROSECOND, labels)
    days = by_time(await usage_store.quarters(tx, history), "day", zone)
    spent = (await usage_store.total(tx, Span(month.start, max(now, month.start) + _MICROSECOND, labels))).cost
    first = await usage_store.first(tx, labels)
    return month, forecasting.forecast({date.fromisoformat(day.key): day.sums.cost for day in days}, spent, first, month, zone, now)
