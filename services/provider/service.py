"""The provider service's calls: a message in, the rules and the store asked, a message out."""

from datetime import timedelta

import grpc
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceServicer

from mesh import answers, errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.provider import budget_store, quality, routing, selection_wire, store, wire
from services.provider.budget import Labels
from services.provider.flows import accounts, conditions, offers, selecting
from services.provider.flows.advising import Advisor
from services.provider.flows.known import Known
from services.provider.flows.selecting import Choice
from services.provider.health import ModelHealth, ProviderHealth
from services.provider.quality import Feedback
from services.provider.registry import Provider
from services.provider.report import Group, by_day
from services.provider.routing import Exclusion, Ranked, Size, Strategy

Context = grpc.aio.ServicerContext[object, object]
_DEFAULT_SPAN = timedelta(days=30)
_MICROSECOND = timedelta(microseconds=1)


class ProviderService(ProviderServiceServicer):
    """Answers tooloo.provider.v1.ProviderService."""

    def __init__(self, host: Host, known: Known, advisor: Advisor) -> None:
        self._host = host
        self._known = known
        self._advisor = advisor

    async def GetProviderStatus(self, request: api.GetProviderStatusRequest, context: Context) -> api.GetProviderStatusResponse:
        """Every provider with its state and models."""
        providers = self._known.registry.providers
        if request.provider_id and request.provider_id not in providers:
            raise errors.not_found("provider", request.provider_id)
        wanted = [provider for key, provider in providers.items() if request.provider_id in ("", key)]

        async def read(tx: Transaction) -> offers.Seen:
            return offers.Seen(
                await store.provider_healths(tx), await store.model_healths(tx), await store.feedback_overall(tx), ()
            )

        seen = await self._host.db.read(read)
        return api.GetProviderStatusResponse(providers=[self._provider(provider, seen) for provider in wanted])

    def _provider(self, provider: Provider, seen: offers.Seen) -> provider_pb2.Provider:
        health, changed = seen.providers.get(provider.provider_id, (ProviderHealth(), None))
        state, why = self._known.state(provider, health)
        message = provider_pb2.Provider(
            provider_id=provider.provider_id,
            display_name=provider.display_name,
            state=provider_pb2.ProviderState.ValueType(state),
            state_reason=why,
            local=provider.local,
        )
        if changed is not None:
            message.state_time.CopyFrom(wire.to_timestamp(changed))
        for model in provider.models:
            feedback = seen.feedback.get(model.key, Feedback())
            expected = quality.expected(model.quality, self._known.settings.quality_prior_weight, feedback)
            message.models.append(wire.to_model(model, seen.models.get(model.key, ModelHealth()), expected, feedback.count))
        return message

    async def SelectProvider(self, request: api.SelectProviderRequest, context: Context) -> api.SelectProviderResponse:
        """Chooses a model, keeps the choice and tells it."""
        default = self._known.settings.default_output_tokens
        size = routing.estimate_size(len(request.query), request.estimated_tokens, default)
        ask = await selecting.prepare(self._host, self._known, self._advisor, _ask(request, size))

        async def effect(tx: Transaction) -> api.SelectProviderResponse:
            choice = await selecting.choose(self._host, tx, self._known, ask)
            if not choice.candidates:
                raise _no_candidate(choice.ranked)
            selection = None
            if not request.dry_run:
                selection = await selecting.keep(self._host, tx, choice)
                await selecting.remember(tx, self._known, ask, selection)
            return _chosen(choice, selection)

        if request.dry_run:
            return await self._host.db.read(effect)
        return await self._host.once(request, api.SelectProviderResponse, effect)

    async def GetSelection(self, request: api.GetSelectionRequest, context: Context) -> api.GetSelectionResponse:
        """A choice that was made."""
        selection = await self._host.db.read(lambda tx: store.get_selection(tx, request.selection_id))
        if selection is None:
            raise errors.not_found("selection", request.selection_id)
        return api.GetSelectionResponse(
            selection_id=selection.selection_id,
            create_time=wire.to_timestamp(selection.time),
            provider_id=selection.labels.provider_id,
            model=selection.labels.model,
            focus_area=selection.focus_area,
            user_id=selection.labels.user_id,
            strategy=provider_pb2.Strategy.ValueType(selection.strategy),
            estimated_cost=wire.to_money(selection.cost),
            estimated_tokens=selection.tokens,
        )

    async def TrackBudget(self, request: api.TrackBudgetRequest, context: Context) -> api.TrackBudgetResponse:
        """Records usage, charges the budgets that cover it, notes the outcome."""
        # here and not in the contract: a rule over two fields names neither in its refusal
        if request.cached_input_tokens > request.input_tokens:
            raise errors.invalid("cached_input_tokens", "they are part of input_tokens, so they cannot be more")
        usage, latency = self._usage(request), wire.from_duration(request.latency, "latency")

        async def effect(tx: Transaction) -> api.TrackBudgetResponse:
            if request.selection_id and await store.get_selection(tx, request.selection_id) is None:
                raise errors.not_found("selection", request.selection_id)
            await store.insert_usage(tx, usage)
            standings = await accounts.charge(self._host, tx, usage.labels, usage.cost, usage.time)
            if request.outcome:
                success = request.outcome == api.TrackBudgetRequest.OUTCOME_SUCCESS
                model = (request.provider_id, request.model)
                await conditions.note_outcome(
                    self._host, tx, self._known, model, success=success, output_tokens=request.output_tokens, latency=latency
                )
            given, listed = api.TrackBudgetResponse.COST_SOURCE_GIVEN, api.TrackBudgetResponse.COST_SOURCE_LIST_PRICE
            return api.TrackBudgetResponse(
                usage_id=usage.usage_id,
                cost=wire.to_money(usage.cost),
                cost_source=given if usage.cost_given else listed,
                budgets=[wire.to_standing(standing) for standing in standings],
            )

        return await self._host.once(request, api.TrackBudgetResponse, effect)

    def _usage(self, request: api.TrackBudgetRequest) -> store.Usage:
        given = request.HasField("cost")
        return store.Usage(
            usage_id=self._host.ids(),
            time=self._host.clock.now(),
            labels=Labels(request.provider_id, request.model, request.user_id),
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            cached_input_tokens=request.cached_input_tokens,
            cost=wire.from_money(request.cost, "cost") if given else self._list_cost(request),
            cost_given=given,
            selection_id=request.selection_id,
            outcome=request.outcome,
            latency_us=wire.from_duration(request.latency, "latency") // _MICROSECOND,
        )

    def _list_cost(self, request: api.TrackBudgetRequest) -> int:
        price = self._known.registry.price_of(request.provider_id, request.model)
        if price is None:
            raise errors.failed_precondition(
                f"providers/{request.provider_id}/models/{request.model}",
                "this model has no list price here; give `cost`, or add its price to the registry file and restart",
                reason=ErrorReason.ERROR_REASON_UNKNOWN_PRICE,
                provider_id=request.provider_id,
                model=request.model,
            )
        return price.cost(request.input_tokens, request.output_tokens, request.cached_input_tokens)

    async def GetBudgetReport(self, request: api.GetBudgetReportRequest, context: Context) -> api.GetBudgetReportResponse:
        """Sums of usage between two times."""
        span = self._span(request)
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        zone = wire.checked_zone(request.time_zone, "time_zone")

        async def read(tx: Transaction) -> tuple[list[Group], Group]:
            return await _groups(tx, request.group_by, span, zone, cursor, size + 1), Group("total", await store.total(tx, span))

        groups, total = await self._host.db.read(read)
        shown = groups[:size]
        more = len(groups) > size
        after = {"key": shown[-1].key, "provider": shown[-1].provider_id, "model": shown[-1].model} if more else {}
        return api.GetBudgetReportResponse(
            rows=[wire.to_row(group) for group in shown],
            total=wire.to_row(total),
            next_page_token=page.encode_token(after, query) if more else "",
            **{"from": wire.to_timestamp(span.start), "to": wire.to_timestamp(span.end)},
        )

    def _span(self, request: api.GetBudgetReportRequest) -> store.Span:
        # an end that is not given is after what was recorded at this very instant
        end = wire.from_timestamp(request.to, "to") if request.HasField("to") else self._host.clock.now() + _MICROSECOND
        # `from` is a word of Python
        start = wire.from_timestamp(getattr(request, "from"), "from") if request.HasField("from") else end - _DEFAULT_SPAN
        longest = self._known.settings.max_report_span
        if start >= end:
            raise errors.invalid("from", "must be before `to`")
        if end - start > longest:
            raise errors.invalid("from", f"must be at most {longest.days} days before `to` (setting max_report_span)")
        return store.Span(start, end, request.user_id)

    async def SetBudget(self, request: api.SetBudgetRequest, context: Context) -> api.SetBudgetResponse:
        """Makes or replaces a budget."""
        now = self._host.clock.now()
        wanted = wire.from_budget(request.budget, request.budget.budget_id or self._host.ids(), now, now)

        async def effect(tx: Transaction) -> api.SetBudgetResponse:
            before = await budget_store.get_budget(tx, wanted.budget_id)
            limit = self._known.settings.max_budgets
            if before is None and await budget_store.count_budgets(tx) >= limit:
                raise errors.exhausted("max_budgets", f"there may be {limit} budgets; delete one or raise the setting max_budgets")
            standing = await accounts.put(self._host, tx, wanted, before, now)
            return api.SetBudgetResponse(standing=wire.to_standing(standing))

        return await self._host.once(request, api.SetBudgetResponse, effect)

    async def CheckBudget(self, request: api.CheckBudgetRequest, context: Context) -> api.CheckBudgetResponse:
        """Whether spending would be allowed now."""
        cost = wire.from_money(request.cost, "cost") if request.HasField("cost") else 0
        labels, now = Labels(request.provider_id, request.model, request.user_id), self._host.clock.now()
        standings = await self._host.db.read(lambda tx: accounts.covering(tx, labels, now))
        denied = [standing.budget.budget_id for standing in standings if not standing.allows(cost)]
        budgets = [wire.to_standing(standing) for standing in standings]
        return api.CheckBudgetResponse(allowed=not denied, denied_by=denied, budgets=budgets)

    async def GetBudget(self, request: api.GetBudgetRequest, context: Context) -> api.GetBudgetResponse:
        """A budget and how it stands."""
        now = self._host.clock.now()

        async def read(tx: Transaction) -> api.GetBudgetResponse:
            budget = await budget_store.get_budget(tx, request.budget_id)
            if budget is None:
                raise errors.not_found("budget", request.budget_id)
            return api.GetBudgetResponse(standing=wire.to_standing(await accounts.standing_of(tx, budget, now)))

        return await self._host.db.read(read)

    async def ListBudgets(self, request: api.ListBudgetsRequest, context: Context) -> api.ListBudgetsResponse:
        """Budgets by id."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        after = _text(page.decode_token(request.page_token, query), "id")
        now = self._host.clock.now()

        async def read(tx: Transaction) -> api.ListBudgetsResponse:
            found = await budget_store.list_budgets(tx, request.user_id, after, size + 1)
            standings = await accounts.standings_of(tx, found[:size], now)
            token = page.encode_token({"id": found[size - 1].budget_id}, query) if len(found) > size else ""
            return api.ListBudgetsResponse(budgets=map(wire.to_standing, standings), next_page_token=token)

        return await self._host.db.read(read)

    async def DeleteBudget(self, request: api.DeleteBudgetRequest, context: Context) -> api.DeleteBudgetResponse:
        """Deletes a budget."""

        async def effect(tx: Transaction) -> api.DeleteBudgetResponse:
            if not await budget_store.delete_budget(tx, request.budget_id, self._host.clock.now()):
                raise errors.not_found("budget", request.budget_id)
            return api.DeleteBudgetResponse()

        return await self._host.once(request, api.DeleteBudgetResponse, effect)


def _ask(request: api.SelectProviderRequest, size: Size) -> selecting.Ask:
    return selecting.Ask(
        size,
        request.query,
        request.focus_area,
        request.user_id,
        _strategy(request),
        request.policy_id,
        request.alias,
        selection_wire.from_weights(request.weights) if request.HasField("weights") else None,
        request.quality_weight if request.HasField("quality_weight") else None,
        selection_wire.from_constraints(request.constraints, "constraints"),
        request.session_id,
        request.prefix_key,
        request.prefix_tokens,
        answers.request_id_of(request),
    )


def _strategy(request: api.SelectProviderRequest) -> Strategy | None:
    """What the request says itself; None leaves it to the policy."""
    if request.strategy:
        return Strategy(request.strategy)
    if request.prefer_free:
        return Strategy.FREE_FIRST_HIGH_QUALITY if request.high_quality else Strategy.FREE_FIRST
    return Strategy.HIGH_QUALITY if request.high_quality else None


def _chosen(choice: Choice, selection: store.Selection | None) -> api.SelectProviderResponse:
    best = choice.candidates[0].option
    return api.SelectProviderResponse(
        selection_id=selection.selection_id if selection else "",
        provider_id=best.provider_id,
        model=best.model,
        estimated_cost=wire.to_money(best.cost or 0),
        estimated_tokens=choice.ask.size.total,
        strategy=provider_pb2.Strategy.ValueType(choice.strategy),
        cost_weight_factor=choice.cost_factor,
        candidates=[wire.to_candidate(candidate, choice.weights) for candidate in choice.ranked],
        policy_id=choice.policy_id,
        reason=choice.reason,
        quality_weight=choice.quality_weight,
        embedding=choice.ask.prompt.embedding if choice.ask.prompt else "",
    )


def _no_candidate(ranked: list[Ranked]) -> errors.Refusal:
    """Why nothing is left: the commonest reason as metadata, and the sentence of the first candidate that has it."""
    commonest = routing.commonest_exclusion(ranked)
    if commonest is None:
        return errors.failed_precondition("registry", "the registry has no models", reason=ErrorReason.ERROR_REASON_NO_CANDIDATE)
    example = next(item for item in ranked if item.exclusion is commonest)
    option = example.option
    description = f"no model can take this request, mostly because of {commonest.name}, e.g. {option.model}: {example.detail}"
    refuse = errors.exhausted if commonest is Exclusion.BUDGET_SPENT else errors.failed_precondition
    return refuse("candidates", description, reason=ErrorReason.ERROR_REASON_NO_CANDIDATE, commonest_exclusion=commonest.name)


async def _groups(
    tx: Transaction, group_by: str, span: store.Span, zone: str, cursor: dict[str, object], limit: int
) -> list[Group]:
    """At most `limit` rows of a report after the cursor."""
    provider, model = _text(cursor, "provider"), _text(cursor, "model")
    if group_by == "day":
        after = _text(cursor, "key")
        return [group for group in by_day(await store.quarters(tx, span), zone) if group.key > after][:limit]
    if group_by == "model":
        return await store.groups_by_model(tx, span, (provider, model), limit)
    return await store.groups_by_provider(tx, span, provider, limit)


def _text(cursor: dict[str, object], name: str) -> str:
    """A field of a page token that somebody may have made up."""
    value = cursor.get(name, "")
    if not isinstance(value, str):
        raise errors.invalid("page_token", "this query did not give that token", reason=ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN)
    return value
