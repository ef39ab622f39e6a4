"""The provider service's calls: a message in, the rules and the store asked, a message out."""

from datetime import timedelta

import grpc
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceServicer

from mesh import errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.provider import (
    availability_wire,
    budget_store,
    choice_wire,
    explanation,
    quality,
    routing,
    selection_store,
    sizes,
    store,
    usage_store,
    wire,
)
from services.provider.fallback import Target
from services.provider.flows import accounts, availability, costing, offers, reporting, selecting
from services.provider.flows.advising import Advisor
from services.provider.flows.known import Known
from services.provider.health import ModelHealth, ProviderHealth
from services.provider.labels import Labels
from services.provider.quality import Feedback
from services.provider.registry import Provider
from services.provider.report import Group
from services.provider.usage_store import Usage

Context = grpc.aio.ServicerContext[object, object]
_MICROSECOND = timedelta(microseconds=1)
_SUCCESS = api.TrackBudgetRequest.OUTCOME_SUCCESS


class ProviderService(ProviderServiceServicer):
    """Answers tooloo.provider.v1.ProviderService."""

    def __init__(self, host: Host, known: Known, advisor: Advisor) -> None:
        self._host = host
        self._known = known
        self._advisor = advisor

    async def GetProviderStatus(self, request: api.GetProviderStatusRequest, context: Context) -> api.GetProviderStatusResponse:
        """Every provider with its state and models."""
        await self._host.db.read(self._known.look)
        providers = self._known.registry.providers
        if request.provider_id and request.provider_id not in providers:
            raise errors.not_found("provider", request.provider_id)
        wanted = [provider for key, provider in providers.items() if request.provider_id in ("", key)]

        async def read(tx: Transaction) -> offers.Seen:
            return offers.Seen(
                await store.provider_healths(tx),
                await store.model_healths(tx),
                await store.feedback_overall(tx),
                (),
                await availability.read(self._host, tx, self._known),
            )

        seen = await self._host.db.read(read)
        return api.GetProviderStatusResponse(providers=[self._provider(provider, seen) for provider in wanted])

    def _provider(self, provider: Provider, seen: offers.Seen) -> provider_pb2.Provider:
        health, changed = seen.providers.get(provider.provider_id, (ProviderHealth(), None))
        state, why = self._known.state(provider, health, seen.availability)
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
            health_of, learned = seen.models.get(model.key, ModelHealth()), self._advisor.learned.get(model.key)
            message.models.append(wire.to_model(model, health_of, expected, feedback.count, learned))
        return message

    async def SelectProvider(self, request: api.SelectProviderRequest, context: Context) -> api.SelectProviderResponse:
        """Chooses a model, keeps the choice and tells it."""
        default = self._known.settings.default_output_tokens
        size = routing.estimate_size(sizes.size(request.query), request.estimated_tokens, default)
        labels = Labels.of(user=request.user_id)
        ask = await selecting.prepare(self._host, self._known, self._advisor, choice_wire.from_request(request, size, labels))

        async def effect(tx: Transaction) -> api.SelectProviderResponse:
            await self._known.look(tx)
            seen = await availability.read(self._host, tx, self._known)
            choice = await selecting.choose(self._host, tx, self._known, ask, seen)
            if not choice.candidates:
                raise selecting.refusal(choice.ranked, "")
            selection = None
            if not request.dry_run:
                selection = await selecting.keep(self._host, tx, self._known, choice)
                await selecting.remember(tx, self._known, ask, selection)
                chosen = Target(selection.labels.provider_id, selection.labels.model)
                await availability.claim(tx, seen, selection.selection_id, chosen)
            return choice_wire.to_response(choice, selection)

        if request.dry_run:
            return await self._host.db.read(effect)
        return await self._host.once(request, api.SelectProviderResponse, effect, brief=True)

    async def GetSelection(self, request: api.GetSelectionRequest, context: Context) -> api.GetSelectionResponse:
        """A choice that was made, and why."""

        async def read(tx: Transaction) -> tuple[store.Selection | None, bytes | None]:
            found = await store.get_selection(tx, request.selection_id)
            return found, await selection_store.get_explanation(tx, request.selection_id)

        selection, why = await self._host.db.read(read)
        if selection is None:
            raise errors.not_found("selection", request.selection_id)
        return choice_wire.to_selection(selection, explanation.from_bytes(why) if why else None)

    async def ListSelections(self, request: api.ListSelectionsRequest, context: Context) -> api.ListSelectionsResponse:
        """Choices, newest first."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        before = page.text_of(page.decode_token(request.page_token, query), "id")
        found = await self._host.db.read(
            lambda tx: store.list_selections(tx, request.user_id, request.provider_id, before, size + 1)
        )
        token = page.encode_token({"id": found[size - 1].selection_id}, query) if len(found) > size else ""
        return api.ListSelectionsResponse(selections=map(choice_wire.to_selection, found[:size]), next_page_token=token)

    async def TrackBudget(self, request: api.TrackBudgetRequest, context: Context) -> api.TrackBudgetResponse:
        """Records usage, charges the budgets that cover it, notes the outcome."""
        # here and not in the contract: a rule over two fields names neither in its refusal
        if request.cached_input_tokens > request.input_tokens:
            raise errors.invalid("cached_input_tokens", "they are part of input_tokens, so they cannot be more")
        await self._host.db.read(self._known.look)
        usage, latency = self._usage(request), wire.from_duration(request.latency, "latency")

        async def effect(tx: Transaction) -> api.TrackBudgetResponse:
            if request.selection_id and await store.get_selection(tx, request.selection_id) is None:
                raise errors.not_found("selection", request.selection_id)
            await usage_store.insert_usage(tx, usage)
            standings = await accounts.charge(self._host, tx, self._known, usage.labels, usage.cost, usage.time)
            if request.outcome:
                success, target = request.outcome == _SUCCESS, Target(request.provider_id, request.model)
                outcome = availability_wire.to_outcome(target, latency, request.output_tokens, success=success)
                await availability.note(self._host, tx, self._known, request.selection_id, [outcome])
            given, listed = api.TrackBudgetResponse.COST_SOURCE_GIVEN, api.TrackBudgetResponse.COST_SOURCE_LIST_PRICE
            return api.TrackBudgetResponse(
                usage_id=usage.usage_id,
                cost=wire.to_money(usage.cost),
                cost_source=given if usage.cost_given else listed,
                budgets=[wire.to_standing(standing) for standing in standings],
            )

        return await self._host.once(request, api.TrackBudgetResponse, effect, brief=True)

    def _usage(self, request: api.TrackBudgetRequest) -> Usage:
        given = request.HasField("cost")
        labels = self._labels(request)
        tokens = request.input_tokens, request.output_tokens, request.cached_input_tokens
        return Usage(
            self._host.ids(),
            self._host.clock.now(),
            labels,
            *tokens,
            cost=wire.from_money(request.cost, "cost") if given else costing.price_of(self._known, labels).cost(*tokens),
            cost_given=given,
            selection_id=request.selection_id,
            outcome=request.outcome,
            latency_us=wire.from_duration(request.latency, "latency") // _MICROSECOND,
        )

    def _labels(self, request: api.TrackBudgetRequest | api.CheckBudgetRequest) -> Labels:
        return wire.from_labels(
            self._known.settings, request.labels, provider=request.provider_id, model=request.model, user=request.user_id
        )

    async def GetBudgetReport(self, request: api.GetBudgetReportRequest, context: Context) -> api.GetBudgetReportResponse:
        """Sums of usage between two times."""
        known, now = self._known.settings, self._host.clock.now()
        labels = wire.from_filter(known, request.labels, user=request.user_id)
        span = reporting.span_of(known, *wire.from_span(request), labels, now)
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        zone = wire.checked_zone(request.time_zone, "time_zone")

        async def read(tx: Transaction) -> tuple[list[Group], Group]:
            groups = await reporting.groups(tx, request.group_by, span, zone, cursor, size + 1)
            return groups, Group("total", await usage_store.total(tx, span))

        groups, total = await self._host.db.read(read)
        more = len(groups) > size
        return api.GetBudgetReportResponse(
            rows=[wire.to_row(group) for group in groups[:size]],
            total=wire.to_row(total),
            next_page_token=page.encode_token(reporting.cursor_after(groups[size - 1]), query) if more else "",
            **{"from": wire.to_timestamp(span.start), "to": wire.to_timestamp(span.end)},
        )

    async def SetBudget(self, request: api.SetBudgetRequest, context: Context) -> api.SetBudgetResponse:
        """Makes or replaces a budget."""
        now = self._host.clock.now()
        wanted = wire.from_budget(self._known.settings, request.budget, request.budget.budget_id or self._host.ids(), now)

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
        labels, now = self._labels(request), self._host.clock.now()
        standings = await self._host.db.read(lambda tx: accounts.covering(tx, self._known, labels, now))
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
            return api.GetBudgetResponse(standing=wire.to_standing(await accounts.standing_of(tx, budget, now, request.holder)))

        return await self._host.db.read(read)

    async def ListBudgets(self, request: api.ListBudgetsRequest, context: Context) -> api.ListBudgetsResponse:
        """Budgets by id."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        after = page.text_of(page.decode_token(request.page_token, query), "id")
        now = self._host.clock.now()

        async def read(tx: Transaction) -> api.ListBudgetsResponse:
            found = await budget_store.list_budgets(tx, request.user_id, after, size + 1)
            standings = [await accounts.standing_of(tx, budget, now) for budget in found[:size]]
            token = page.encode_token({"id": found[size - 1].budget_id}, query) if len(found) > size else ""
            return api.ListBudgetsResponse(budgets=map(wire.to_standing, standings), next_page_token=token)

        return await self._host.db.read(read)

    async def DeleteBudget(self, request: api.DeleteBudgetRequest, context: Context) -> api.DeleteBudgetResponse:
        """Deletes a budget."""

        async def effect(tx: Transaction) -> api.DeleteBudgetResponse:
            if not await budget_store.delete_budget(tx, request.budget_id, self._host.clock.now()):
                raise errors.not_found("budget", request.budget_id)
            await budget_store.drop_accounts(tx, request.budget_id)
            await budget_store.put_revision(tx, self._host.ids())
            return api.DeleteBudgetResponse()

        return await self._host.once(request, api.DeleteBudgetResponse, effect)
