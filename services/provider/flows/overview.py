"""How available everything is, for people: providers, models and keys, with what was seen of them."""

from msgspec import Struct

from mesh.db import Transaction
from mesh.host import Host
from services.provider import availability_store, store
from services.provider.availability import Availability, Condition, Out, Priority, Resource
from services.provider.fallback import Target
from services.provider.flows import availability
from services.provider.flows.known import Known
from services.provider.health import ProviderHealth, State
from services.provider.health_window import Bucket, Figures, Seen, figures
from services.provider.registry import Provider


class Entry(Struct, frozen=True):
    """How available one thing is; `seen` is None for what no window is kept of.

    `why` says what is not as it should be where it is not `out` itself.
    """

    resource: Resource
    state: State
    priority: Priority
    out: Out | None
    failures_in_row: int = 0
    in_flight: int = 0
    seen: Figures | None = None
    why: str = ""

    @property
    def troubled(self) -> bool:
        """Whether it does not get all the calls that it could."""
        return self.out is not None or self.priority is not Priority.NORMAL or self.state is not State.AVAILABLE


class _Everything(Struct, frozen=True):
    """What the store holds."""

    known: Known
    available: Availability
    healths: dict[str, ProviderHealth]
    seen: dict[Resource, Seen]
    buckets: dict[Resource, list[Bucket]]

    def entry(self, resource: Resource) -> Entry:
        """One thing's."""
        keys = () if resource.key_id else self.known.keys_of(resource.provider_id)
        target, available = Target(resource.provider_id, resource.model), self.available
        out = available.resource_out(resource) or available.keys_out(target, keys)
        seen = self.seen.get(resource)
        priority = available.priority(resource, keys)
        if resource == Resource(resource.provider_id):
            health = self.healths.get(resource.provider_id, ProviderHealth())
            state, why = self.known.state(self.known.registry.providers[resource.provider_id], health, available)
            why = "" if state is State.AVAILABLE else why
            return Entry(resource, state, priority, out, health.failures_in_row, why=why)
        condition = available.conditions.get(resource, Condition())
        state = State.UNAVAILABLE if out is not None else condition.state_at(resource, available.now)
        return Entry(
            resource,
            state,
            priority,
            out,
            seen.failures_in_row if seen else 0,
            0 if resource.key_id else available.in_flight.get(target, 0),
            self._figures(resource, seen) if seen else None,
        )

    def _figures(self, resource: Resource, seen: Seen) -> Figures:
        grain = self.known.grain
        return figures([*self.buckets.get(resource, ()), seen.bucket], grain, self.available.now)

    def resources(self, provider: Provider) -> list[Resource]:
        """A provider, its keys, its models, and keys with a model that something is noted of, in order."""
        provider_id = provider.provider_id
        found = {Resource(provider_id)}
        found |= {Resource(provider_id, "", key) for key in self.known.keys_of(provider_id)}
        found |= {Resource(provider_id, model.name) for model in provider.models}
        noted = (*self.seen, *self.available.conditions)
        return sorted(found | {resource for resource in noted if resource.provider_id == provider_id and resource.key_id})


async def entries(host: Host, tx: Transaction, known: Known, provider_id: str) -> list[Entry]:
    """Everything of one provider, or of all (""), by provider, model and key."""
    everything = await _read(host, tx, known)
    providers = [item for key, item in sorted(known.registry.providers.items()) if provider_id in ("", key)]
    return [everything.entry(resource) for provider in providers for resource in everything.resources(provider)]


async def entry(host: Host, tx: Transaction, known: Known, resource: Resource) -> Entry:
    """One thing's."""
    return (await _read(host, tx, known)).entry(resource)


async def _read(host: Host, tx: Transaction, known: Known) -> _Everything:
    grain = known.grain
    available = await availability.read(host, tx, known)
    return _Everything(
        known,
        available,
        {provider_id: health for provider_id, (health, _) in (await store.provider_healths(tx)).items()},
        await availability_store.seen_of_models(tx, grain) | await availability_store.seen_of_keys(tx, grain),
        await availability_store.buckets(tx, grain, grain.oldest(available.now)),
    )
