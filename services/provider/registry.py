"""The registry of providers and models; registry_tables.py reads it."""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from propcache.api import cached_property

from services.provider import fallback
from services.provider.pricing import FREE, Price
from services.provider.target import Manner, Target, Timeouts
from services.provider.texts import EMBEDDINGS

DIALECTS = ("openai", "anthropic", "gemini", "ollama", "echo")
ECHO = "echo"


class Model(Struct, frozen=True, dict=True):
    """One model: `quality` is 0..1, `tokens_per_second` counts output; both are priors.

    `upstream` is the name that its provider knows it by. `region` is where it runs (e.g. "eu"; "" when unknown), and `data_policy`
    what the provider does with what it is told: "local" (nothing leaves this machine), "zero_retention", "no_training", "" unknown.
    """

    provider_id: str
    name: str
    price: Price | None
    context_window: int
    quality: float
    tokens_per_second: float
    capabilities: tuple[str, ...] = ()
    enabled: bool = True
    upstream: str = ""
    region: str = ""
    data_policy: str = ""

    @cached_property
    def key(self) -> fallback.Target:
        """(provider, model)."""
        return fallback.Target(self.provider_id, self.name)

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors of texts, and so answers no conversation."""
        return EMBEDDINGS in self.capabilities


class Provider(Struct, frozen=True):
    """One provider: `key_environment` names variables of which one must hold its key; `address` is "host:port" of a local one.

    `dialect`, `base_url`, `manner` and `timeouts` say how it is called. A disabled one has no enabled model.
    """

    provider_id: str
    display_name: str
    models: tuple[Model, ...]
    key_environment: tuple[str, ...] = ()
    local: bool = False
    address: str = ""
    dialect: str = "openai"
    base_url: str = ""
    manner: Manner = field(default_factory=Manner)
    timeouts: Timeouts = field(default_factory=Timeouts)
    enabled: bool = True
    region: str = ""
    data_policy: str = ""

    @property
    def stands_in(self) -> bool:
        """Whether it is the echo, which is no provider: it answers only when nothing else is configured, or when asked by name."""
        return self.dialect == ECHO

    @property
    def needs_key(self) -> bool:
        """Whether it answers nobody without a key."""
        return bool(self.key_environment) and not (self.local or self.stands_in)

    @property
    def callable(self) -> bool:
        """Whether the registry says where to call it."""
        return self.stands_in or bool(self.base_url)

    @property
    def way(self) -> tuple[str, str, Manner]:
        """Where and how it is called."""
        return self.base_url, self.dialect, self.manner

    def target(self, model: Model, key: str = "", key_id: str = "", timeouts: Timeouts | None = None) -> Target:
        """Where a call to one of its models goes, under one of its keys; `timeouts` None: its own."""
        limits, upstream = timeouts or self.timeouts, model.upstream or model.name
        return Target(self.provider_id, upstream, self.dialect, self.base_url, key, key_id, self.manner, limits)


class Registry(Struct, frozen=True, dict=True):
    """All providers by id, and list prices of more models than are offered."""

    providers: Mapping[str, Provider]
    prices: Mapping[tuple[str, str], Price] = field(default_factory=dict)

    @property
    def models(self) -> Iterable[Model]:
        """Every model, by provider and name."""
        return (model for provider in self.providers.values() for model in provider.models)

    @cached_property
    def by_key(self) -> Mapping[tuple[str, str], Model]:
        """Every model by provider and name."""
        return {model.key: model for model in self.models}

    @cached_property
    def names(self) -> frozenset[str]:
        """What a caller may write for a model: its name, or that of its provider, a slash, and its name."""
        return frozenset(name for model in self.models for name in (model.name, "/".join(model.key)))

    def model(self, provider_id: str, name: str) -> Model | None:
        """A model by its provider and name; None when the registry has none."""
        return self.by_key.get((provider_id, name))

    def price_of(self, provider_id: str, model: str) -> Price | None:
        """The list price; zero for whatever runs locally; None when nobody knows."""
        provider = self.providers.get(provider_id)
        if provider is not None and provider.local:
            return FREE
        return self.prices.get((provider_id, model))
