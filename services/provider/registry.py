"""The registry of providers and models: read from two tables (the edited registry, the copied prices), checked, never changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.provider.money import CURRENCY, MoneyError, parse
from services.provider.pricing import FREE, Price, Rate

_MODEL_KEYS = {
    "tier",
    "context_window",
    "capabilities",
    "price",
    "quality",
    "tokens_per_second",
    "enabled",
    "region",
    "data_policy",
}
_PROVIDER_KEYS = {
    *("display_name", "key_environment", "local", "address", "tokens_per_second", "models"),
    *("region", "data_policy"),
}
DATA_POLICIES = ("", "no_training", "zero_retention", "local")


class RegistryError(ValueError):
    """A registry that cannot be used; the message names the entry and says what would be right."""


@dataclass(frozen=True)
class Model:
    """One model: `quality` is 0..1, `tokens_per_second` counts output; both are priors.

    `region` is where it runs (e.g. "eu"; "" when unknown), and `data_policy` what the provider does with what it is told: "local"
    (nothing leaves this machine), "zero_retention", "no_training", "" unknown.
    """

    provider_id: str
    name: str
    price: Price | None
    context_window: int
    quality: float
    tokens_per_second: float
    capabilities: tuple[str, ...] = ()
    enabled: bool = True
    region: str = ""
    data_policy: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(provider, model)."""
        return self.provider_id, self.name


@dataclass(frozen=True)
class Provider:
    """One provider: `key_environment` names variables of which one must hold its key; `address` is "host:port" of a local one."""

    provider_id: str
    display_name: str
    models: tuple[Model, ...]
    key_environment: tuple[str, ...] = ()
    local: bool = False
    address: str = ""


@dataclass(frozen=True)
class Registry:
    """All providers by id, and list prices of more models than are offered."""

    providers: Mapping[str, Provider]
    prices: Mapping[tuple[str, str], Price] = field(default_factory=dict)

    @property
    def models(self) -> Iterable[Model]:
        """Every model, by provider and name."""
        return (model for provider in self.providers.values() for model in provider.models)

    def price_of(self, provider_id: str, model: str) -> Price | None:
        """The list price; zero for whatever runs locally; None when nobody knows."""
        provider = self.providers.get(provider_id)
        if provider is not None and provider.local:
            return FREE
        return self.prices.get((provider_id, model))


def parse_registry(table: Mapping[str, Any], price_table: Mapping[str, Any]) -> Registry:
    """Registry of a parsed providers.toml and prices.json; RegistryError for what does not fit."""
    if price_table.get("currency", CURRENCY) != CURRENCY:
        raise RegistryError(f"the price file is in {price_table['currency']}; prices must be in {CURRENCY}")
    tiers = table.get("tiers", {})
    prices, windows = _parse_prices(price_table.get("providers", {}))
    providers = {}
    for provider_id, entry in sorted(table.get("providers", {}).items()):
        _known(f"providers.{provider_id}", entry, _PROVIDER_KEYS)
        models = tuple(
            _parse_model(provider_id, entry, name, row, tiers, prices, windows) for name, row in sorted(entry["models"].items())
        )
        providers[provider_id] = Provider(
            provider_id,
            entry.get("display_name", provider_id),
            models,
            tuple(entry.get("key_environment", ())),
            entry.get("local", False),
            entry.get("address", ""),
        )
    own = {model.key: model.price for provider in providers.values() for model in provider.models if model.price is not None}
    return Registry(providers, {**prices, **own})


def _known(where: str, entry: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := sorted(set(entry) - keys):
        raise RegistryError(f"{where} has no field {unknown[0]!r}; known: {', '.join(sorted(keys))}")


def _parse_model(
    provider_id: str,
    provider: Mapping[str, Any],
    name: str,
    row: Mapping[str, Any],
    tiers: Mapping[str, Any],
    prices: Mapping[tuple[str, str], Price],
    windows: Mapping[tuple[str, str], int],
) -> Model:
    where, key = f'providers.{provider_id}.models."{name}"', (provider_id, name)
    _known(where, row, _MODEL_KEYS)
    if row.get("tier") not in tiers:
        raise RegistryError(f"{where}: tier {row.get('tier')!r} is not one of {', '.join(sorted(tiers))}")
    prior = {**tiers[row["tier"]], **_only(provider, "tokens_per_second"), **_only(row, "quality", "tokens_per_second")}
    window = row.get("context_window", windows.get(key, 0))
    if window < 1:
        raise RegistryError(f"{where}: give its context_window in tokens; the price list does not know it")
    if not 0 <= prior["quality"] <= 1 or not prior["tokens_per_second"] > 0:
        raise RegistryError(f"{where}: quality must lie in 0..1 and tokens_per_second above 0")
    own = FREE if provider.get("local") else _own_price(where, row)
    local = provider.get("local", False)
    policy = row.get("data_policy", provider.get("data_policy", "local" if local else ""))
    if policy not in DATA_POLICIES:
        raise RegistryError(f"{where}: data_policy {policy!r} is not one of {', '.join(filter(None, DATA_POLICIES))}")
    return Model(
        provider_id,
        name,
        own or prices.get(key),
        window,
        float(prior["quality"]),
        float(prior["tokens_per_second"]),
        tuple(row.get("capabilities", ())),
        row.get("enabled", True),
        row.get("region", provider.get("region", "local" if local else "")),
        policy,
    )


def _only(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def _own_price(where: str, row: Mapping[str, Any]) -> Price | None:
    return Price(_rate(where, row["price"])) if "price" in row else None


def _parse_prices(table: Mapping[str, Any]) -> tuple[dict[tuple[str, str], Price], dict[tuple[str, str], int]]:
    """Prices and context windows by (provider, model or another name of it)."""
    prices: dict[tuple[str, str], Price] = {}
    windows: dict[tuple[str, str], int] = {}
    for provider_id, models in table.items():
        for name, row in models.items():
            where = f"prices of {provider_id} {name}"
            tiers = tuple(sorted((tier["above"], _rate(where, tier)) for tier in row.get("tiers", ())))
            price = Price(_rate(where, row), tiers)
            for known_as in (name, *row.get("names", ())):
                prices.setdefault((provider_id, known_as), price)
                windows.setdefault((provider_id, known_as), row.get("context_window", 0))
    return prices, windows


def _rate(where: str, row: Mapping[str, Any]) -> Rate:
    try:
        cached = parse(row["cached_input"]) if "cached_input" in row else None
        rate = Rate(parse(row["input"]), parse(row["output"]), cached)
    except (MoneyError, KeyError, TypeError) as error:
        raise RegistryError(
            f'{where}: write prices per million tokens as text, e.g. input = "0.25", output = "2" ({error})'
        ) from error
    if rate.input < 0 or rate.output < 0 or (cached or 0) < 0:
        raise RegistryError(f"{where}: a price cannot be negative")
    return rate
