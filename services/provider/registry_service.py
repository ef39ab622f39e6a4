"""The registry's calls: a message in, the registry changed and checked, a message out."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace
from tooloo.provider.v1 import registry_service_pb2 as api
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceServicer

from mesh import errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.provider import availability_store, wire
from services.provider import registry_store as store
from services.provider import registry_wire as form
from services.provider.availability import Resource
from services.provider.flows import availability, conditions
from services.provider.flows.keyring import Keyring
from services.provider.flows.known import Known
from services.provider.flows.registering import Registering
from services.provider.keys import ENVIRONMENT, StoredKey, hint_of
from services.provider.overlay import Change
from services.provider.registry import Model, Provider

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")


class RegistryService(RegistryServiceServicer):
    """Answers tooloo.provider.v1.RegistryService."""

    def __init__(self, host: Host, known: Known, keyring: Keyring) -> None:
        self._host = host
        self._known = known
        self._keyring = keyring
        self._registering = Registering(host, known)

    async def RegisterProvider(self, request: api.RegisterProviderRequest, context: Context) -> api.RegisterProviderResponse:
        """Adds a provider."""

        async def effect(tx: Transaction) -> api.RegisterProviderResponse:
            made = await self._put_provider(tx, request.provider, new=True)
            return api.RegisterProviderResponse(provider=made)

        made = await self._host.once(request, api.RegisterProviderResponse, effect)
        await conditions.look_at(self._host, self._known, request.provider.provider_id)
        return made

    async def UpdateProvider(self, request: api.UpdateProviderRequest, context: Context) -> api.UpdateProviderResponse:
        """Replaces a provider's definition."""

        async def effect(tx: Transaction) -> api.UpdateProviderResponse:
            made = await self._put_provider(tx, request.provider, new=False)
            return api.UpdateProviderResponse(provider=made)

        made = await self._host.once(request, api.UpdateProviderResponse, effect)
        await conditions.look_at(self._host, self._known, request.provider.provider_id)
        return made

    async def _put_provider(self, tx: Transaction, message: api.ProviderDefinition, *, new: bool) -> api.ProviderDefinition:
        definition = form.from_provider(message)
        provider = await self._registering.put_provider(tx, message.provider_id, definition, new=new)
        return form.to_provider(provider, changed_here=True, tokens_per_second=message.tokens_per_second)

    async def SetProviderEnabled(self, request: api.SetProviderEnabledRequest, context: Context) -> api.SetProviderEnabledResponse:
        """Switches a provider."""

        async def effect(tx: Transaction) -> api.SetProviderEnabledResponse:
            provider = await self._registering.enable_provider(tx, request.provider_id, request.enabled)
            _, changes = await self._registering.registry(tx)
            return api.SetProviderEnabledResponse(provider=self._shown(provider, True, changes))

        return await self._host.once(request, api.SetProviderEnabledResponse, effect)

    async def DeleteProvider(self, request: api.DeleteProviderRequest, context: Context) -> api.DeleteProviderResponse:
        """Removes a provider."""

        async def effect(tx: Transaction) -> api.DeleteProviderResponse:
            await self._registering.delete_provider(tx, request.provider_id)
            return api.DeleteProviderResponse()

        return await self._host.once(request, api.DeleteProviderResponse, effect)

    async def ListProviders(self, request: api.ListProvidersRequest, context: Context) -> api.ListProvidersResponse:
        """Providers by id."""
        registry, changes = await self._host.db.read(self._registering.registry)
        here = {change.provider_id for change in changes if not change.model}
        shown, token = _page(request, list(registry.providers.values()), lambda provider: [provider.provider_id])
        return api.ListProvidersResponse(
            providers=[self._shown(provider, provider.provider_id in here, changes) for provider in shown], next_page_token=token
        )

    def _shown(self, provider: Provider, here: bool, changes: Sequence[Change]) -> api.ProviderDefinition:
        change = next((each for each in changes if each.provider_id == provider.provider_id and not each.model), None)
        table = (change.definition if change else None) or self._known.file_table.get("providers", {}).get(provider.provider_id, {})
        return form.to_provider(provider, changed_here=here, tokens_per_second=table.get("tokens_per_second", 0))

    async def RegisterModel(self, request: api.RegisterModelRequest, context: Context) -> api.RegisterModelResponse:
        """Adds a model."""

        async def effect(tx: Transaction) -> api.RegisterModelResponse:
            return api.RegisterModelResponse(model=await self._put_model(tx, request.model, new=True))

        return await self._host.once(request, api.RegisterModelResponse, effect)

    async def UpdateModel(self, request: api.UpdateModelRequest, context: Context) -> api.UpdateModelResponse:
        """Replaces a model's definition."""

        async def effect(tx: Transaction) -> api.UpdateModelResponse:
            return api.UpdateModelResponse(model=await self._put_model(tx, request.model, new=False))

        return await self._host.once(request, api.UpdateModelResponse, effect)

    async def _put_model(self, tx: Transaction, message: api.ModelDefinition, *, new: bool) -> api.ModelDefinition:
        definition = form.from_model(message)
        return self._model(await self._registering.put_model(tx, message.provider_id, message.model, definition, new=new), True)

    def _model(self, model: Model, changed_here: bool) -> api.ModelDefinition:
        return form.to_model(model, changed_here=changed_here, price=self._known.price_of_model(model))

    async def SetModelEnabled(self, request: api.SetModelEnabledRequest, context: Context) -> api.SetModelEnabledResponse:
        """Switches a model."""

        async def effect(tx: Transaction) -> api.SetModelEnabledResponse:
            model = await self._registering.enable_model(tx, request.provider_id, request.model, request.enabled)
            return api.SetModelEnabledResponse(model=self._model(model, True))

        return await self._host.once(request, api.SetModelEnabledResponse, effect)

    async def DeleteModel(self, request: api.DeleteModelRequest, context: Context) -> api.DeleteModelResponse:
        """Removes a model."""

        async def effect(tx: Transaction) -> api.DeleteModelResponse:
            await self._registering.delete_model(tx, request.provider_id, request.model)
            return api.DeleteModelResponse()

        return await self._host.once(request, api.DeleteModelResponse, effect)

    async def ListModels(self, request: api.ListModelsRequest, context: Context) -> api.ListModelsResponse:
        """Models by provider and name."""
        registry, changes = await self._host.db.read(self._registering.registry)
        here = {(change.provider_id, change.model) for change in changes}
        found = [model for model in registry.models if request.provider_id in ("", model.provider_id)]
        shown, token = _page(request, found, lambda model: list(model.key))
        return api.ListModelsResponse(models=[self._model(model, model.key in here) for model in shown], next_page_token=token)

    async def AddProviderKey(self, request: api.AddProviderKeyRequest, context: Context) -> api.AddProviderKeyResponse:
        """Adds a key."""
        ends = _end(request.end_time) if request.HasField("end_time") else None
        weight = request.weight if request.HasField("weight") else 1
        made = self._keyring.sealed(self._host.ids(), request.provider_id, request.secret, request.display_name, weight, ends)

        async def effect(tx: Transaction) -> api.AddProviderKeyResponse:
            await self._known.look(tx)
            if request.provider_id not in self._known.registry.providers:
                raise errors.not_found("provider", request.provider_id)
            most = self._known.settings.max_provider_keys
            if len(await store.keys(tx, request.provider_id)) >= most:
                raise errors.exhausted("max_provider_keys", f"a provider may have {most} keys; delete those that ended")
            await store.insert_key(tx, made, self._host.clock.now())
            await self._registering.changed(tx)
            if not self._known.keys_of(request.provider_id):
                # a provider that refused calls without a key is worth another try with its first one
                await availability.reset(self._host, tx, self._known, Resource(request.provider_id))
            return api.AddProviderKeyResponse(key=self._key(made, {}))

        return await self._host.once(request, api.AddProviderKeyResponse, effect)

    async def ListProviderKeys(self, request: api.ListProviderKeysRequest, context: Context) -> api.ListProviderKeysResponse:
        """Keys by provider and id."""
        await self._host.db.read(self._known.look)
        stored, used = await self._host.db.read(partial(_keys, provider_id=request.provider_id))
        found = [self._key(key, used) for key in stored]
        found += [
            form.to_environment_key(name, hint_of(key), used.get((name, ENVIRONMENT)))
            for name, key in self._known.environment_keys.items()
            # that of a provider that was deleted is nobody's
            if request.provider_id in ("", name) and name in self._known.registry.providers
        ]
        found.sort(key=lambda key: (key.provider_id, key.key_id))
        shown, token = _page(request, found, lambda key: [key.provider_id, key.key_id])
        return api.ListProviderKeysResponse(keys=shown, next_page_token=token)

    async def UpdateProviderKey(self, request: api.UpdateProviderKeyRequest, context: Context) -> api.UpdateProviderKeyResponse:
        """Changes a key."""

        async def effect(tx: Transaction) -> api.UpdateProviderKeyResponse:
            before = await store.get_key(tx, request.key_id)
            if before is None:
                raise errors.not_found("key", request.key_id)
            changed = _changed(before, request)
            await store.update_key(tx, changed)
            await self._registering.changed(tx)
            return api.UpdateProviderKeyResponse(key=self._key(changed, await availability_store.keys_used(tx)))

        return await self._host.once(request, api.UpdateProviderKeyResponse, effect)

    async def DeleteProviderKey(self, request: api.DeleteProviderKeyRequest, context: Context) -> api.DeleteProviderKeyResponse:
        """Deletes a key."""

        async def effect(tx: Transaction) -> api.DeleteProviderKeyResponse:
            key = await store.get_key(tx, request.key_id)
            if key is None:
                raise errors.not_found("key", request.key_id)
            await store.delete_key(tx, request.key_id)
            await availability_store.forget(tx, Resource(key.provider_id, "", key.key_id))
            await self._registering.changed(tx)
            return api.DeleteProviderKeyResponse()

        return await self._host.once(request, api.DeleteProviderKeyResponse, effect)

    def _key(self, key: StoredKey, used: Mapping[tuple[str, str], datetime]) -> api.ProviderKey:
        last, readable = used.get((key.provider_id, key.key_id)), self._keyring.readable(key)
        return form.to_key(key, self._host.clock.now(), last, readable=readable)


async def _keys(tx: Transaction, provider_id: str) -> tuple[list[StoredKey], Mapping[tuple[str, str], datetime]]:
    """Keys of one provider, or of all, and when which was last used."""
    return await store.keys(tx, provider_id), await availability_store.keys_used(tx)


def _changed(key: StoredKey, request: api.UpdateProviderKeyRequest) -> StoredKey:
    name = request.display_name if request.HasField("display_name") else key.display_name
    weight = request.weight if request.HasField("weight") else key.weight
    ends = _end(request.end_time) if request.HasField("end_time") else key.ends
    return replace(key, display_name=name, weight=weight, ends=ends)


def _end(stamp: Timestamp) -> datetime | None:
    """The end; the first second of 1970 means that there is none."""
    return wire.from_timestamp(stamp, "end_time") if stamp.seconds else None


def _page(request: Message, found: Sequence[T], key: Callable[[T], list[str]]) -> tuple[list[T], str]:
    """A page of what is sorted by its key, and the token of the next one."""
    size, query = page.size_of(request.page_size), page.fingerprint(request)  # type: ignore[attr-defined] # every list request has it
    after = page.decode_token(request.page_token, query).get("after")  # type: ignore[attr-defined] # the same
    rest = [item for item in found if not isinstance(after, list) or key(item) > [str(part) for part in after]]
    more = len(rest) > size
    return rest[:size], page.encode_token({"after": key(rest[size - 1])}, query) if more else ""
