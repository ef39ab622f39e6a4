"""Changes of the registry at run time: checked against the whole registry, kept, and made known to every process."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import availability_store
from services.provider import registry_store as store
from services.provider.availability import Resource
from services.provider.flows import availability
from services.provider.flows.known import Known
from services.provider.overlay import Change, lay_over
from services.provider.pricelist import RegistryError, read_price, write_price
from services.provider.registry import Model, Provider, Registry


class Registering:
    """Writes changes; each method runs inside the caller's transaction and gives the registry as it then stands."""

    def __init__(self, host: Host, known: Known) -> None:
        self._host = host
        self._known = known

    async def registry(self, tx: Transaction) -> tuple[Registry, list[Change]]:
        """The registry of this very transaction, and what was changed of it."""
        changes = await store.entries(tx)
        return self._known.built(lay_over(self._known.file_table, self._known.fitting(changes))), changes

    async def put_provider(self, tx: Transaction, provider_id: str, definition: Mapping[str, Any], *, new: bool) -> Provider:
        """Adds or replaces a provider."""
        await self._known.look(tx)
        registry, changes = await self.registry(tx)
        before = registry.providers.get(provider_id)
        if new and before is not None:
            raise errors.already_exists("provider", provider_id, "it exists already; change it with UpdateProvider")
        if not new and before is None:
            raise errors.not_found("provider", provider_id)
        if new:
            await store.forget_models(tx, provider_id)
            changes = [change for change in changes if not (change.provider_id == provider_id and change.model)]
            # models that the file has for this id: they were deleted with it, and do not come back with a new one of its name
            hidden = [Change(provider_id, name, None, deleted=True) for name in self._models_of_file(provider_id)]
            for change in hidden:
                await store.put_model(tx, change, self._now())
            changes += hidden
        change = Change(provider_id, "", definition, enabled=True if before is None else before.enabled)
        provider = (await self._keep(tx, change, changes)).providers[provider_id]
        if before is not None and before.way != provider.way:
            # what failed there says nothing of here
            await availability.reset(self._host, tx, self._known, Resource(provider_id))
        return provider

    async def enable_provider(self, tx: Transaction, provider_id: str, enabled: bool) -> Provider:
        """Switches a provider."""
        registry, changes = await self.registry(tx)
        if provider_id not in registry.providers:
            raise errors.not_found("provider", provider_id)
        before = next((change for change in changes if change.provider_id == provider_id and not change.model), None)
        change = replace(before, enabled=enabled) if before else Change(provider_id, "", None, enabled)
        return (await self._keep(tx, change, changes)).providers[provider_id]

    async def delete_provider(self, tx: Transaction, provider_id: str) -> None:
        """Removes a provider with its models and keys."""
        registry, changes = await self.registry(tx)
        if provider_id not in registry.providers:
            raise errors.not_found("provider", provider_id)
        await store.forget_models(tx, provider_id)
        await store.delete_keys(tx, provider_id)
        await availability_store.forget(tx, Resource(provider_id))
        await self._keep(tx, Change(provider_id, "", None, deleted=True), changes)

    async def put_model(self, tx: Transaction, provider_id: str, name: str, definition: Mapping[str, Any], *, new: bool) -> Model:
        """Adds or replaces a model."""
        await self._known.look(tx)
        registry, changes = await self.registry(tx)
        if provider_id not in registry.providers:
            raise errors.not_found("provider", provider_id)
        before = registry.model(provider_id, name)
        if new and before is not None:
            raise errors.already_exists("model", f"{provider_id}/{name}", "it exists already; change it with UpdateModel")
        if not new and before is None:
            raise errors.not_found("model", f"{provider_id}/{name}")
        enabled = self._enabled(changes, provider_id, name) if before else True
        model = await self._model(tx, Change(provider_id, name, _with_tiers(definition, before), enabled), changes)
        if before is not None and before.upstream != model.upstream:
            # a name that the provider did not know was another one
            await availability.reset(self._host, tx, self._known, Resource(*model.key))
        return model

    async def enable_model(self, tx: Transaction, provider_id: str, name: str, enabled: bool) -> Model:
        """Switches a model."""
        registry, changes = await self.registry(tx)
        if registry.model(provider_id, name) is None:
            raise errors.not_found("model", f"{provider_id}/{name}")
        before = next((change for change in changes if (change.provider_id, change.model) == (provider_id, name)), None)
        change = replace(before, enabled=enabled) if before else Change(provider_id, name, None, enabled)
        return await self._model(tx, change, changes)

    async def delete_model(self, tx: Transaction, provider_id: str, name: str) -> None:
        """Removes a model."""
        registry, changes = await self.registry(tx)
        if registry.model(provider_id, name) is None:
            raise errors.not_found("model", f"{provider_id}/{name}")
        await availability_store.forget(tx, Resource(provider_id, name))
        await self._keep(tx, Change(provider_id, name, None, deleted=True), changes)

    async def changed(self, tx: Transaction) -> None:
        """Tells every process, this one too, that registry or keys are not what they were."""
        await store.put_stamp(tx, self._host.ids())

    async def _model(self, tx: Transaction, change: Change, changes: list[Change]) -> Model:
        found = (await self._keep(tx, change, changes)).model(change.provider_id, change.model)
        if found is None:
            raise errors.not_found("model", f"{change.provider_id}/{change.model}")
        return found

    async def _keep(self, tx: Transaction, change: Change, changes: list[Change]) -> Registry:
        """Keeps a change when the registry with it is sound; INVALID_ARGUMENT with the registry's own words when it is not."""
        others = [other for other in changes if (other.provider_id, other.model) != (change.provider_id, change.model)]
        most = self._known.settings.max_registered
        if len(others) >= most:
            raise errors.exhausted("max_registered", f"there may be {most} changes; raise the setting max_registered")
        try:
            registry = self._known.built(lay_over(self._known.file_table, [*self._known.fitting(others), change]))
        except RegistryError as error:
            raise errors.invalid("model" if change.model else "provider", str(error)) from error
        await (store.put_model if change.model else store.put_provider)(tx, change, self._now())
        await self.changed(tx)
        return registry

    def _models_of_file(self, provider_id: str) -> list[str]:
        return list(self._known.file_table.get("providers", {}).get(provider_id, {}).get("models", {}))

    def _enabled(self, changes: list[Change], provider_id: str, name: str) -> bool:
        of_file = self._known.file_table.get("providers", {}).get(provider_id, {}).get("models", {}).get(name, {})
        found = (change.enabled for change in changes if (change.provider_id, change.model) == (provider_id, name))
        return next(found, bool(of_file.get("enabled", True)))

    def _now(self) -> datetime:
        return self._host.clock.now()


def _with_tiers(definition: Mapping[str, Any], before: Model | None) -> Mapping[str, Any]:
    """The definition with the dearer rates of long inputs that the price has so far: messages do not have them.

    Who gives another price means all of it.
    """
    price = before.price if before else None
    if (
        price is None
        or not price.tiers
        or read_price("price", definition.get("price", {"input": "0", "output": "0"})).base != price.base
    ):
        return definition
    return {**definition, "price": write_price(price)}
