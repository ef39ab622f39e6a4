"""One provider's conditions as a transaction changes them, and what must be told when it is done."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from mesh.db import Transaction
from mesh.host import Host
from mesh.outbox import Fact
from services.provider import availability_store, events, store
from services.provider.availability import Availability, Condition, Priority, Resource
from services.provider.fallback import Target
from services.provider.flows import rules
from services.provider.flows.known import Known
from services.provider.health import ProviderHealth, State
from services.provider.registry import Provider


@dataclass
class Ledger:
    """A provider's health and the conditions of it, its models and keys: as they were read, and as they are now."""

    known: Known
    provider: Provider
    now: datetime
    health: ProviderHealth
    changed: datetime | None
    conditions: dict[Resource, Condition]
    stored_health: ProviderHealth = field(init=False)
    stored: dict[Resource, Condition] = field(init=False)

    def __post_init__(self) -> None:
        """Remembers what was read."""
        self.stored_health, self.stored = self.health, dict(self.conditions)

    @property
    def own(self) -> Resource:
        """The provider as a whole."""
        return Resource(self.provider.provider_id)

    @property
    def keys(self) -> tuple[str, ...]:
        """Ids of its keys."""
        return self.known.keys_of(self.provider.provider_id)

    def change(self, resource: Resource, how: Callable[[Condition], Condition]) -> None:
        """Changes what speaks against a resource."""
        self.conditions[resource] = how(self.conditions.get(resource, Condition()))

    def snapshot(self) -> Availability:
        """How it stands now."""
        return Availability(self.now, self.known.breaker, self.conditions)

    def is_due(self) -> bool:
        """Whether something must be told or dropped, although nobody changed anything."""
        facts = self.conclude()
        return bool(facts) or self.conditions != self.stored

    def conclude(self) -> list[Fact]:
        """What must be told; marks it as told, and drops what is over."""
        facts = []
        for resource, condition in self.conditions.items():
            self.conditions[resource] = condition.put_right(self.known.breaker, self.now)
        # of a key that rests the model may be out, of all keys the provider
        for resource in list(self.conditions):
            self.conditions.setdefault(resource._replace(key_id=""), Condition())
        for resource, condition in sorted(self.conditions.items(), key=lambda item: item[0]):
            told, new = self._conclude_one(resource, condition)
            facts += told
            self.conditions[resource] = new
        facts += self._conclude_provider()
        ordinary = (State.AVAILABLE, Priority.NORMAL)
        memory = rules.memory(self.known.settings)
        self.conditions = {
            resource: condition
            for resource, condition in self.conditions.items()
            if (condition.state, condition.priority) != ordinary or not condition.over(self.now, memory)
        }
        return facts

    def _conclude_one(self, resource: Resource, condition: Condition) -> tuple[list[Fact], Condition]:
        seen, facts = self.snapshot(), []
        state, out = condition.state_at(resource, self.now), seen.resource_out(resource)
        # of the provider as a whole its overall state is told
        if state is not condition.state and resource != self.own:
            why = out.reason if out else "it may be tried again" if state is State.DEGRADED else "it takes calls again"
            facts.append(events.health_changed(resource, condition.state, state, why))
        priority = condition.priority
        if not resource.key_id:
            priority = seen.priority(resource, self.keys)
            if priority is not condition.priority:
                out = out or seen.keys_out(Target(resource.provider_id, resource.model), self.keys)
                facts.append(events.priority_changed(resource, condition.priority, priority, out))
        return facts, replace(condition, state=state, priority=priority)

    def _conclude_provider(self) -> list[Fact]:
        previous = self.stored_health.told or self.known.state(self.provider, self.stored_health)[0]
        state, why = self.known.state(self.provider, self.health, self.snapshot())
        if state is previous:
            return []
        self.health, self.changed = replace(self.health, told=state), self.now
        return [events.health_changed(self.own, previous, state, why)]


async def opened(host: Host, tx: Transaction, known: Known, provider: Provider) -> Ledger:
    """A provider's ledger as it is stored."""
    health, changed = await store.provider_health(tx, provider.provider_id)
    conditions = await availability_store.conditions_of(tx, provider.provider_id)
    return Ledger(known, provider, host.clock.now(), health, changed, conditions)


async def close(host: Host, tx: Transaction, ledger: Ledger) -> None:
    """Tells what changed and stores what is different."""
    if not ledger.conditions and not ledger.stored and ledger.health == ledger.stored_health:
        # as after nearly every call
        return
    for fact in ledger.conclude():
        await host.tell(tx, fact)
    if ledger.health != ledger.stored_health:
        await store.put_provider_health(tx, ledger.provider.provider_id, ledger.health, ledger.changed)
    for resource, condition in ledger.conditions.items():
        if condition != ledger.stored.get(resource):
            await availability_store.put_condition(tx, resource, condition)
    for resource in ledger.stored.keys() - ledger.conditions.keys():
        await availability_store.forget_condition(tx, resource)
