"""What the service knows: the registry (its file, and what was registered since), which providers have a key, the settings."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from mesh.clock import Clock, SystemClock
from mesh.db import Transaction
from services.provider import registry_store
from services.provider.availability import Availability
from services.provider.flows import rules
from services.provider.flows.limits import Cache
from services.provider.health import ProviderHealth, State, judge
from services.provider.keys import ENVIRONMENT
from services.provider.overlay import Change, lay_over
from services.provider.pricelist import PriceList, RegistryError
from services.provider.pricing import Price
from services.provider.registry import Model, Provider, Registry
from services.provider.registry_tables import build_registry
from services.provider.routing import HalfPoints, Strategy, Weights
from services.provider.settings import ProviderSettings

log = logging.getLogger(__name__)


class _Snapshot(Struct, frozen=True):
    """What is known as of one state of the database; replaced as a whole, so that no reader sees half of a change."""

    stamp: str
    registry: Registry
    with_key: frozenset[str]
    # ids of the keys of each provider that has any
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # when those of them end that do
    ends: Mapping[str, datetime] = field(default_factory=dict)


class Known:
    """What is known. `look` at the beginning of a transaction makes it current; between transactions it may be a little old."""

    def __init__(
        self,
        settings: ProviderSettings,
        table: Mapping[str, Any],
        prices: PriceList,
        environment_keys: Mapping[str, str],
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self.environment_keys = environment_keys
        self._table = table
        self._prices = prices
        self._default_price = settings.default_price
        # the settings as the rules that the domain asks for
        self.grain, self.breaker, self.tuning = rules.grain(settings), rules.breaker(settings), rules.tuning(settings)
        # where cheapness and speed count one half
        self.half_points = HalfPoints(settings.half_cost, settings.half_speed)
        # budgets and burst policies, as of their own change counter
        self.limits = Cache()
        self._now = _Snapshot("", build_registry(table, prices), frozenset(environment_keys), self._key_ids({}))

    @property
    def registry(self) -> Registry:
        """Providers and models."""
        return self._now.registry

    @property
    def configured(self) -> bool:
        """Whether any provider has a key, if only one that has ended: then nothing stands in for those that cannot be called."""
        return bool(self._now.with_key)

    @property
    def with_key(self) -> frozenset[str]:
        """Ids of the providers that have a key whose end has not come."""
        if not self._now.ends:
            # as nearly always
            return self._now.with_key
        return frozenset(provider_id for provider_id in self._now.keys if self.keys_of(provider_id))

    async def look(self, tx: Transaction) -> None:
        """Reads what changed, here or in another process; one small statement when nothing did."""
        stamp = await registry_store.stamp(tx)
        if stamp != self._now.stamp:
            changes = await registry_store.entries(tx)
            stored: dict[str, list[str]] = {}
            ends: dict[str, datetime] = {}
            for key in await registry_store.keys(tx):
                stored.setdefault(key.provider_id, []).append(key.key_id)
                ends |= {key.key_id: key.ends} if key.ends else {}
            keys = self._key_ids(stored)
            registry = self.built(lay_over(self._table, self.fitting(changes)))
            # keys of a provider that is gone are nobody's
            keys = {provider_id: ids for provider_id, ids in keys.items() if provider_id in registry.providers}
            self._now = _Snapshot(stamp, registry, frozenset(keys), keys, ends)

    def had_key(self, provider_id: str) -> bool:
        """Whether a provider was given any key, one that has ended or cannot be opened included."""
        return bool(self._now.keys.get(provider_id))

    def keys_of(self, provider_id: str) -> tuple[str, ...]:
        """Ids of a provider's keys whose end has not come."""
        keys, ends = self._now.keys.get(provider_id, ()), self._now.ends
        if not ends:
            return keys
        now = self._clock.now()
        return tuple(key for key in keys if key not in ends or now < ends[key])

    def _key_ids(self, stored: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        given = dict.fromkeys(self.environment_keys, (ENVIRONMENT,))
        ids = {*stored, *given}
        return {provider_id: (*stored.get(provider_id, ()), *given.get(provider_id, ())) for provider_id in ids}

    def built(self, table: Mapping[str, Any]) -> Registry:
        """The registry of a table under this installation's prices; RegistryError for what does not fit."""
        return build_registry(table, self._prices)

    def fitting(self, changes: Sequence[Change]) -> list[Change]:
        """Those of the changes that fit: one may rest on what the files said then, and must not take the others along."""
        try:
            self.built(lay_over(self._table, changes))
        except RegistryError:
            found: list[Change] = []
            for change in changes:
                try:
                    self.built(lay_over(self._table, [*found, change]))
                except RegistryError as error:
                    log.warning("a change of the registry is left out until it is made anew: %s", error)
                else:
                    found.append(change)
            return found
        return list(changes)

    @property
    def file_table(self) -> Mapping[str, Any]:
        """The registry file's table."""
        return self._table

    def price_of(self, provider_id: str, model: str) -> Price | None:
        """The list price, else the stated default of the settings, else None: then nobody may assume that it costs nothing."""
        return self.registry.price_of(provider_id, model) or self._default_price

    def price_of_model(self, model: Model) -> Price | None:
        """The price of a model of the registry, in the same way."""
        return model.price or self._default_price

    @property
    def needs_key(self) -> bool:
        """Whether a provider without a key is out of selection."""
        wish = self.settings.require_key
        return wish == "always" or (wish == "auto" and self.configured)

    def weights(self, strategy: Strategy) -> Weights:
        """The weights that the settings give a strategy."""
        chosen = self.settings
        if strategy.high_quality:
            return Weights(
                chosen.high_quality_weight_cost,
                chosen.high_quality_weight_quality,
                chosen.high_quality_weight_speed,
                chosen.weight_uptime,
            )
        return Weights(chosen.weight_cost, chosen.weight_quality, chosen.weight_speed, chosen.weight_uptime)

    def state(self, provider: Provider, health: ProviderHealth, availability: Availability | None = None) -> tuple[State, str]:
        """The state of a provider and why, in a sentence: the worst of what was seen of it and of what is available."""
        state, why = self._seen(provider, health)
        models = [model.name for model in provider.models if model.enabled]
        trouble = availability and availability.trouble(provider.provider_id, models, self.keys_of(provider.provider_id))
        if not trouble or state is State.UNAVAILABLE:
            return state, why
        return trouble if trouble[0] is State.UNAVAILABLE or state is not State.DEGRADED else (state, why)

    def _seen(self, provider: Provider, health: ProviderHealth) -> tuple[State, str]:
        if provider.stands_in:
            return State.AVAILABLE, "it runs in this process, and stands in while no provider is configured"
        state = judge(
            health,
            local=provider.local,
            has_key=provider.provider_id in self.with_key,
            degraded_after=self.settings.degraded_after,
        )
        return state, _why(state, provider, health)


def _why(state: State, provider: Provider, health: ProviderHealth) -> str:
    """A state in a sentence."""
    if state is State.UNAVAILABLE:
        return f"nothing answers at {provider.address}"
    if state is State.DEGRADED:
        return f"its last {health.failures_in_row} calls failed"
    if state is State.NOT_CONFIGURED:
        variables = " or ".join(provider.key_environment)
        return f"no key: {f'set {variables}, or ' if variables else ''}add one with AddProviderKey"
    return f"something answers at {provider.address}" if provider.local else "it has a key; no call failed lately"


def read(settings: ProviderSettings, environment: Mapping[str, str], clock: Clock | None = None) -> Known:
    """What the settings say and name. Keys of the environment are read here."""
    entries = settings.table.get("providers", {}).items()
    keys = {name: key for name, entry in entries if (key := _key(entry, environment))}
    return Known(settings, settings.table, settings.prices, keys, clock)


def _key(entry: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The first key that the variables of a provider hold; "" when none does."""
    found = (environment.get(name, "").strip() for name in entry.get("key_environment", ()))
    return next(filter(None, found), "")
