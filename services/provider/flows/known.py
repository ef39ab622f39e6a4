"""What the service knows from its start on: the registry, which providers have a key here, and the settings."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.provider.availability import Availability
from services.provider.flows.limits import Cache
from services.provider.health import ProviderHealth, State, judge
from services.provider.registry import Provider, Registry, RegistryError, parse_registry
from services.provider.routing import HalfPoints, Strategy, Weights
from services.provider.settings import ProviderSettings

_REQUIRE_KEY = ("auto", "always", "never")


@dataclass(frozen=True)
class Known:
    """Registry, ids of the providers that have a key, settings."""

    registry: Registry
    with_key: frozenset[str]
    settings: ProviderSettings
    # ids of the keys that are registered, by provider; without any it is not known when the last one rests
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Cache = field(default_factory=Cache, compare=False)

    def keys_of(self, provider_id: str) -> tuple[str, ...]:
        """Ids of a provider's keys."""
        return self.keys.get(provider_id, ())

    @property
    def needs_key(self) -> bool:
        """Whether a provider without a key is out of selection."""
        wish = self.settings.require_key
        return wish == "always" or (wish == "auto" and bool(self.with_key))

    @property
    def half_points(self) -> HalfPoints:
        """Where cheapness and speed count one half."""
        return HalfPoints(self.settings.half_cost, self.settings.half_speed)

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
        state = judge(
            health,
            local=provider.local,
            has_key=provider.provider_id in self.with_key,
            degraded_after=self.settings.degraded_after,
        )
        reasons = {
            State.UNAVAILABLE: f"nothing answers at {provider.address}",
            State.DEGRADED: f"its last {health.failures_in_row} calls failed",
            State.NOT_CONFIGURED: f"no key: set {' or '.join(provider.key_environment)}",
            State.AVAILABLE: f"something answers at {provider.address}"
            if provider.local
            else "it has a key; no call failed lately",
        }
        return state, reasons[state]


def read(settings: ProviderSettings, environment: Mapping[str, str]) -> Known:
    """Reads the registry and price files; RegistryError names what does not fit. Of keys only their presence is looked at."""
    if settings.require_key not in _REQUIRE_KEY:
        raise RegistryError(f"TOOLOO_PROVIDER_REQUIRE_KEY is {settings.require_key!r}; write one of {', '.join(_REQUIRE_KEY)}")
    registry = parse_registry(tomllib.loads(settings.registry_file.read_text()), json.loads(settings.prices_file.read_text()))
    with_key = (
        provider.provider_id
        for provider in registry.providers.values()
        if any(environment.get(name, "").strip() for name in provider.key_environment)
    )
    return Known(registry, frozenset(with_key), settings)
