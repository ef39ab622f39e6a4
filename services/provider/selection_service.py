"""The calls of SelectionService: policies, aliases, ratings."""

import grpc
from msgspec.structs import replace
from tooloo.provider.v1 import selection_service_pb2 as api
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceServicer

from mesh import errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.provider import query_store, selection_store, store
from services.provider import selection_wire as wire
from services.provider.completing_port import is_name
from services.provider.flows import advising
from services.provider.flows.known import Known
from services.provider.policy import Alias
from services.provider.selection_store import Observed
from services.provider.strategies import Strategy

Context = grpc.aio.ServicerContext[object, object]


class SelectionService(SelectionServiceServicer):
    """Answers tooloo.provider.v1.SelectionService."""

    def __init__(self, host: Host, known: Known) -> None:
        self._host, self._known = host, known

    async def SetSelectionPolicy(self, request: api.SetSelectionPolicyRequest, context: Context) -> api.SetSelectionPolicyResponse:
        """Makes or replaces a policy."""
        wanted, now = wire.from_policy(request.policy), self._host.clock.now()
        if wanted.strategy is Strategy.WEIGHTED and not any(share.weight > 0 for share in wanted.shares):
            raise errors.invalid("policy.shares", "the strategy WEIGHTED needs a share above 0")

        async def effect(tx: Transaction) -> api.SetSelectionPolicyResponse:
            before = await selection_store.get_policy(tx, wanted.policy_id)
            limit = self._known.settings.max_policies
            if before is None and await selection_store.count_policies(tx) >= limit:
                raise errors.exhausted(
                    "max_policies", f"there may be {limit} policies; delete one or raise the setting max_policies"
                )
            created = before.created if before is not None and before.created is not None else now
            await selection_store.put_policy(tx, wanted, created, now)
            return api.SetSelectionPolicyResponse(policy=wire.to_policy(replace(wanted, created=created, updated=now)))

        return await self._host.once(request, api.SetSelectionPolicyResponse, effect)

    async def GetSelectionPolicy(self, request: api.GetSelectionPolicyRequest, context: Context) -> api.GetSelectionPolicyResponse:
        """A policy."""
        policy = await self._host.db.read(lambda tx: selection_store.get_policy(tx, request.policy_id))
        if policy is None:
            raise errors.not_found("selection policy", request.policy_id)
        return api.GetSelectionPolicyResponse(policy=wire.to_policy(policy))

    async def ListSelectionPolicies(
        self, request: api.ListSelectionPoliciesRequest, context: Context
    ) -> api.ListSelectionPoliciesResponse:
        """Policies by id."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        after = _name(page.decode_token(request.page_token, query))
        found = await self._host.db.read(lambda tx: selection_store.list_policies(tx, after, size + 1))
        token = page.encode_token({"name": found[size - 1].policy_id}, query) if len(found) > size else ""
        return api.ListSelectionPoliciesResponse(policies=map(wire.to_policy, found[:size]), next_page_token=token)

    async def DeleteSelectionPolicy(
        self, request: api.DeleteSelectionPolicyRequest, context: Context
    ) -> api.DeleteSelectionPolicyResponse:
        """Deletes a policy."""

        async def effect(tx: Transaction) -> api.DeleteSelectionPolicyResponse:
            if not await selection_store.delete_policy(tx, request.policy_id):
                raise errors.not_found("selection policy", request.policy_id)
            return api.DeleteSelectionPolicyResponse()

        return await self._host.once(request, api.DeleteSelectionPolicyResponse, effect)

    async def SetAlias(self, request: api.SetAliasRequest, context: Context) -> api.SetAliasResponse:
        """Makes or replaces an alias."""
        now = self._host.clock.now()
        wanted = wire.from_alias(request.alias, now, now)

        async def effect(tx: Transaction) -> api.SetAliasResponse:
            await self._known.look(tx)
            self._check(wanted)
            before = await selection_store.get_alias(tx, wanted.alias)
            limit = self._known.settings.max_aliases
            if before is None and await selection_store.count_aliases(tx) >= limit:
                raise errors.exhausted("max_aliases", f"there may be {limit} aliases; delete one or raise the setting max_aliases")
            alias = replace(wanted, created=before.created) if before is not None else wanted
            await selection_store.put_alias(tx, alias)
            return api.SetAliasResponse(alias=wire.to_alias(alias))

        return await self._host.once(request, api.SetAliasResponse, effect)

    def _check(self, alias: Alias) -> None:
        if not is_name(alias.alias) or alias.alias in self._known.registry.names:
            detail = "whoever calls by this name means a model, or any; choose another, or call the model by provider/model"
            raise errors.invalid("alias.alias", f"{alias.alias!r} is taken: {detail}")
        known = {model.key for model in self._known.registry.models}
        keys = [target.key for target in alias.targets]
        if unknown := [key for key in keys if key not in known]:
            raise errors.not_found("model", "/".join(unknown[0]))
        if len(set(keys)) != len(keys):
            raise errors.invalid("alias.targets", "a model can be a target only once")
        if not any(target.weight > 0 for target in alias.targets):
            raise errors.invalid("alias.targets", "at least one target needs a weight above 0")

    async def GetAlias(self, request: api.GetAliasRequest, context: Context) -> api.GetAliasResponse:
        """An alias."""
        alias = await self._host.db.read(lambda tx: selection_store.get_alias(tx, request.alias))
        if alias is None:
            raise errors.not_found("alias", request.alias)
        return api.GetAliasResponse(alias=wire.to_alias(alias))

    async def ListAliases(self, request: api.ListAliasesRequest, context: Context) -> api.ListAliasesResponse:
        """Aliases by name."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        after = _name(page.decode_token(request.page_token, query))
        found = await self._host.db.read(lambda tx: selection_store.list_aliases(tx, after, size + 1))
        token = page.encode_token({"name": found[size - 1].alias}, query) if len(found) > size else ""
        return api.ListAliasesResponse(aliases=map(wire.to_alias, found[:size]), next_page_token=token)

    async def DeleteAlias(self, request: api.DeleteAliasRequest, context: Context) -> api.DeleteAliasResponse:
        """Deletes an alias."""

        async def effect(tx: Transaction) -> api.DeleteAliasResponse:
            if not await selection_store.delete_alias(tx, request.alias):
                raise errors.not_found("alias", request.alias)
            return api.DeleteAliasResponse()

        return await self._host.once(request, api.DeleteAliasResponse, effect)

    async def RateSelection(self, request: api.RateSelectionRequest, context: Context) -> api.RateSelectionResponse:
        """Counts a rating for the model that was chosen."""
        score = float(request.thumbs_up) if request.WhichOneof("rating") == "thumbs_up" else request.score

        async def effect(tx: Transaction) -> api.RateSelectionResponse:
            selection = await store.get_selection(tx, request.selection_id)
            if selection is None:
                raise errors.not_found("selection", request.selection_id)
            # of a completion it is the one that answered, which may be another than was chosen
            query = await query_store.get(tx, request.selection_id)
            model = query.model_key if query else (selection.labels.provider_id, selection.labels.model)
            prompt = await advising.prompt_of(tx, request.selection_id)
            outcome_id = f"rating/{request.selection_id}"
            await advising.note_outcome(tx, self._known, Observed(outcome_id, self._host.clock.now(), model, score, 1.0, prompt))
            return api.RateSelectionResponse(provider_id=model[0], model=model[1], prompt_known=prompt is not None)

        return await self._host.once(request, api.RateSelectionResponse, effect)


def _name(cursor: dict[str, object]) -> str:
    """Where a page token stands; somebody may have made it up."""
    value = cursor.get("name", "")
    if not isinstance(value, str):
        raise errors.invalid("page_token", "this query did not give that token")
    return value
