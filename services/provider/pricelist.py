"""List prices and context windows, read from the tables they are kept in: the copied list, and an operator's overrides."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from services.provider.money import CURRENCY, MoneyError, parse, show
from services.provider.pricing import Price, Rate

Key = tuple[str, str]
# what a price need not have, in the order of Rate
_OPTIONAL = ("cached_input", "cache_write", "audio_input", "cached_audio")


class RegistryError(ValueError):
    """A registry that cannot be used; the message names the entry and says what would be right."""


class PriceList(Struct, frozen=True):
    """Prices and context windows by (provider, model or another name of it)."""

    prices: Mapping[Key, Price]
    windows: Mapping[Key, int]

    def overridden(self, other: "PriceList") -> "PriceList":
        """A list with what the other one says put over what this one says."""
        windows = {key: size for key, size in other.windows.items() if size}
        return PriceList({**self.prices, **other.prices}, {**self.windows, **windows})


def read_prices(table: Mapping[str, Any]) -> PriceList:
    """The list of a parsed prices.json; RegistryError for what does not fit."""
    if table.get("currency", CURRENCY) != CURRENCY:
        raise RegistryError(f"the price file is in {table['currency']}; prices must be in {CURRENCY}")
    prices: dict[Key, Price] = {}
    windows: dict[Key, int] = {}
    for provider_id, models in table.get("providers", {}).items():
        for name, row in models.items():
            where = f"prices of {provider_id} {name}"
            price = read_price(where, row)
            for known_as in (name, *row.get("names", ())):
                prices.setdefault((provider_id, known_as), price)
                windows.setdefault((provider_id, known_as), row.get("context_window", 0))
    return PriceList(prices, windows)


def read_price(where: str, row: Mapping[str, Any]) -> Price:
    """A price with its tiers; RegistryError for what is no price."""
    tiers = tuple(sorted((tier["above"], _rate(where, tier)) for tier in row.get("tiers", ())))
    return Price(_rate(where, row), tiers)


def write_price(price: Price) -> dict[str, Any]:
    """The row that `read_price` reads as this price."""
    tiers = [{"above": above, **_row(rate)} for above, rate in price.tiers]
    return {**_row(price.base), **({"tiers": tiers} if tiers else {})}


def _row(rate: Rate) -> dict[str, str]:
    return {name: show(amount) for name, amount in asdict(rate).items() if amount is not None}


def _rate(where: str, row: Mapping[str, Any]) -> Rate:
    try:
        rest = [parse(row[name]) if name in row else None for name in _OPTIONAL]
        rate = Rate(parse(row["input"]), parse(row["output"]), *rest)
    except (MoneyError, KeyError, TypeError) as error:
        raise RegistryError(
            f'{where}: write prices per million tokens as text, e.g. input = "0.25", output = "2" ({error})'
        ) from error
    if any((amount or 0) < 0 for amount in (rate.input, rate.output, *rest)):
        raise RegistryError(f"{where}: a price cannot be negative")
    return rate
