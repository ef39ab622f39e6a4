"""The calls about availability and fallback chains: a message in, the rules and the store asked, a message out."""

import grpc
from tooloo.provider.v1 import availability_service_pb2 as api
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceServicer
from tooloo.provider.v1.health_pb2 import AvailabilityEntry

from mesh import errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.provider import availability_wire as wire
from services.provider import fallback_store
from services.provider.availability import Drain, Resource
from services.provider.flows import availability, overview
from services.provider.flows.known import Known
from services.provider.flows.overview import Entry
from services.provider.wire import from_timestamp

Context = grpc.aio.ServicerContext[object, object]
_Named = api.ResetAvailabilityRequest | api.DrainAvailabilityRequest | api.RestoreAvailabilityRequest


class AvailabilityService(AvailabilityServiceServicer):
    """Answers tooloo.provider.v1.AvailabilityService."""

    def __init__(self, host: Host, known: Known) -> None:
        self._host = host
        self._known = known

    async def ListAvailability(self, request: api.ListAvailabilityRequest, context: Context) -> api.ListAvailabilityResponse:
        """A page of what is available and what is not."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        cursor = page.decode_token(request.page_token, query)
        after = Resource(*(str(cursor.get(name, "")) for name in ("provider_id", "model", "key_id")))

        async def read(tx: Transaction) -> list[Entry]:
            await self._known.look(tx)
            if request.provider_id and request.provider_id not in self._known.registry.providers:
                raise errors.not_found("provider", request.provider_id)
            return await overview.entries(self._host, tx, self._known, request.provider_id)

        found = [entry for entry in await self._host.db.read(read) if entry.troubled or not request.only_troubled]
        found = [entry for entry in found if entry.resource > after][: size + 1]
        token = page.encode_token(found[size - 1].resource._asdict(), query) if len(found) > size else ""
        return api.ListAvailabilityResponse(entries=map(wire.to_entry, found[:size]), next_page_token=token)

    async def ResetAvailability(self, request: api.ResetAvailabilityRequest, context: Context) -> api.ResetAvailabilityResponse:
        """Ends cooldowns and breakers."""

        async def effect(tx: Transaction) -> api.ResetAvailabilityResponse:
            resource = await self._resource(tx, request)
            await availability.reset(self._host, tx, self._known, resource)
            return api.ResetAvailabilityResponse(entry=await self._entry(tx, resource))

        return await self._host.once(request, api.ResetAvailabilityResponse, effect)

    async def DrainAvailability(self, request: api.DrainAvailabilityRequest, context: Context) -> api.DrainAvailabilityResponse:
        """Takes something out of rotation."""
        now = self._host.clock.now()
        until = from_timestamp(request.until, "until") if request.HasField("until") else None
        if until is not None and until <= now:
            raise errors.invalid("until", "must lie in the future; leave it out for no end")

        async def effect(tx: Transaction) -> api.DrainAvailabilityResponse:
            resource = await self._resource(tx, request)
            await availability.drain(self._host, tx, self._known, resource, Drain(request.reason, now, until))
            return api.DrainAvailabilityResponse(entry=await self._entry(tx, resource))

        return await self._host.once(request, api.DrainAvailabilityResponse, effect)

    async def RestoreAvailability(
        self, request: api.RestoreAvailabilityRequest, context: Context
    ) -> api.RestoreAvailabilityResponse:
        """Puts something back into rotation."""

        async def effect(tx: Transaction) -> api.RestoreAvailabilityResponse:
            resource = await self._resource(tx, request)
            await availability.drain(self._host, tx, self._known, resource, None)
            return api.RestoreAvailabilityResponse(entry=await self._entry(tx, resource))

        return await self._host.once(request, api.RestoreAvailabilityResponse, effect)

    async def _resource(self, tx: Transaction, request: _Named) -> Resource:
        """What a request names; NOT_FOUND for what the registry does not know."""
        await self._known.look(tx)
        provider = self._known.registry.providers.get(request.provider_id)
        if provider is None:
            raise errors.not_found("provider", request.provider_id)
        if request.model and request.model not in (model.name for model in provider.models):
            raise errors.not_found("model", f"{request.provider_id}/{request.model}")
        keys = self._known.keys_of(request.provider_id)
        if request.key_id and keys and request.key_id not in keys:
            raise errors.not_found("key", f"{request.provider_id}/{request.key_id}")
        return Resource(request.provider_id, request.model, request.key_id)

    async def _entry(self, tx: Transaction, resource: Resource) -> AvailabilityEntry:
        return wire.to_entry(await overview.entry(self._host, tx, self._known, resource))

    async def SetFallbackChain(self, request: api.SetFallbackChainRequest, context: Context) -> api.SetFallbackChainResponse:
        """Makes or replaces a chain."""
        chain, limit = wire.from_chain(request.chain), self._known.settings.max_fallback_chains

        async def effect(tx: Transaction) -> api.SetFallbackChainResponse:
            now, before = self._host.clock.now(), await fallback_store.get_chain(tx, chain.chain_id)
            if before is None and await fallback_store.count_chains(tx) >= limit:
                raise errors.exhausted("max_fallback_chains", f"there are {limit} fallback chains; delete one or raise the setting")
            stored = fallback_store.Stored(chain, before.created if before else now, now)
            await fallback_store.put_chain(tx, stored)
            return api.SetFallbackChainResponse(chain=wire.to_chain(stored))

        return await self._host.once(request, api.SetFallbackChainResponse, effect)

    async def GetFallbackChain(self, request: api.GetFallbackChainRequest, context: Context) -> api.GetFallbackChainResponse:
        """One chain."""
        stored = await self._host.db.read(lambda tx: fallback_store.get_chain(tx, request.chain_id))
        if stored is None:
            raise errors.not_found("fallback chain", request.chain_id)
        return api.GetFallbackChainResponse(chain=wire.to_chain(stored))

    async def ListFallbackChains(self, request: api.ListFallbackChainsRequest, context: Context) -> api.ListFallbackChainsResponse:
        """A page of chains."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        after = str(page.decode_token(request.page_token, query).get("id", ""))
        found = await self._host.db.read(lambda tx: fallback_store.list_chains(tx, after, size + 1))
        token = page.encode_token({"id": found[size - 1].chain.chain_id}, query) if len(found) > size else ""
        return api.ListFallbackChainsResponse(chains=map(wire.to_chain, found[:size]), next_page_token=token)

    async def DeleteFallbackChain(
        self, request: api.DeleteFallbackChainRequest, context: Context
    ) -> api.DeleteFallbackChainResponse:
        """Deletes a chain."""

        async def effect(tx: Transaction) -> api.DeleteFallbackChainResponse:
            if not await fallback_store.delete_chain(tx, request.chain_id):
                raise errors.not_found("fallback chain", request.chain_id)
            return api.DeleteFallbackChainResponse()

        return await self._host.once(request, api.DeleteFallbackChainResponse, effect)
