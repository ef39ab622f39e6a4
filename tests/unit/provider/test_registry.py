"""The registry: the shipped files are right, an edited one overrides prices, a wrong one is named."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from services.provider import money
from services.provider.pricelist import RegistryError, read_prices
from services.provider.pricing import FREE, Price, Rate
from services.provider.registry_tables import build_registry

FOLDER = Path("services/provider")
TIERS = {"small": {"quality": 0.5, "tokens_per_second": 100}}
PRICES = {
    "providers": {
        "acme": {"one": {"input": "1", "output": "2.5", "context_window": 1000, "names": ["one-2026"], "tiers": [
            {"above": 500, "input": "3", "output": "4", "cached_input": "0.5"}]}}
    }
}  # fmt: skip


def registry(model: dict[str, Any], **provider: object) -> dict[str, Any]:
    """A registry of one provider with one model."""
    return {"tiers": TIERS, "providers": {"acme": {"models": {"one": {"tier": "small", **model}}, **provider}}}


def test_the_shipped_registry_has_a_price_for_every_model() -> None:
    """What is offered can be estimated; the local ones and OpenRouter's free variants cost nothing, nothing else does."""
    shipped = build_registry(
        tomllib.loads((FOLDER / "providers.toml").read_text()), read_prices(json.loads((FOLDER / "prices.json").read_text()))
    )
    assert {"openai", "anthropic", "google", "deepseek", "mistral", "groq", "openrouter", "ollama"} <= set(shipped.providers)
    for model in shipped.models:
        assert model.price is not None, model.key
        assert model.price.free == (model.provider_id in ("ollama", "local") or model.name.endswith(":free")), model.key


def test_a_list_price_is_read_exactly() -> None:
    """Rates per million tokens in nano units, dearer rates for long inputs, and the other names of a model."""
    read = build_registry(registry({}), read_prices(PRICES))
    base, dearer = Rate(10**9, 2_500_000_000), Rate(3 * 10**9, 4 * 10**9, 500_000_000)
    assert read.price_of("acme", "one") == read.price_of("acme", "one-2026") == Price(base, ((500, dearer),))
    assert read.price_of("acme", "two") is None
    assert next(iter(read.models)).context_window == 1000


def test_a_price_in_the_registry_wins_over_the_list() -> None:
    """The edited file overrides the copied one."""
    read = build_registry(registry({"price": {"input": "7", "output": "8"}}), read_prices(PRICES))
    assert read.price_of("acme", "one") == Price(Rate(money.parse("7"), money.parse("8")))


def test_whatever_runs_locally_costs_nothing() -> None:
    """Also a model that the registry does not list."""
    read = build_registry(registry({}, local=True, address="127.0.0.1:1"), read_prices(PRICES))
    assert read.price_of("acme", "anything") == FREE


@pytest.mark.parametrize(
    ("model", "provider", "says"),
    [
        ({"tier": "huge"}, {}, "tier 'huge'"),
        ({"colour": "red"}, {}, "'colour'"),
        ({"quality": 1.5}, {}, "quality"),
        ({"price": {"input": "-1", "output": "1"}}, {}, "negative"),
        ({"price": {"input": 0.25, "output": "1"}}, {}, "as text"),
        ({"price": {"input": "1"}}, {}, "output"),
        ({"context_window": 0}, {}, "context_window"),
        ({}, {"colour": "red"}, "'colour'"),
    ],
)
def test_a_wrong_entry_is_named(model: dict[str, Any], provider: dict[str, Any], says: str) -> None:
    """The message says which entry and what would be right."""
    with pytest.raises(RegistryError, match="acme") as raised:
        build_registry(registry(model, **provider), read_prices(PRICES))
    assert says in str(raised.value)


def test_prices_in_another_currency_are_refused() -> None:
    """The ledger is in the currency of the price lists; mixing them would add apples to pears."""
    with pytest.raises(RegistryError, match="USD"):
        build_registry(registry({}), read_prices({**PRICES, "currency": "EUR"}))
