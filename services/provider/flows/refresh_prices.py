"""Writes prices.json anew from the package genai-prices (MIT), which is needed only for this.

Run it as `python -m services.provider.flows.refresh_prices` and read the difference before committing it.
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr, ModelInfo, ModelPrice, TieredPrices

TARGET = Path(__file__).parents[1] / "prices.json"
COPIED = ("anthropic", "deepseek", "google", "groq", "mistral", "openai", "openrouter", "x-ai")
FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "audio_input": "input_audio_mtok",
    "cached_audio": "cache_audio_read_mtok",
}
_NANO = Decimal("0.000000001")


def dearest(model: ModelInfo, day: datetime) -> ModelPrice:
    """The model's prices on that day; of prices that change by the hour the dearest, so that a budget is never undercounted."""
    hours = (model.get_prices(day.replace(hour=hour)) for hour in range(24))
    return max(hours, key=lambda prices: plain(prices.input_mtok, 0) + plain(prices.output_mtok, 0))


def plain(price: Any, input_tokens: int) -> Any:
    """The price per million tokens that a call with so many input tokens pays."""
    if isinstance(price, TieredPrices):
        return next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)
    return price or 0


def rates(prices: ModelPrice, input_tokens: int) -> dict[str, str]:
    """The rates of prices.json at so many input tokens, as decimal text."""
    given = {name: getattr(prices, attribute) for name, attribute in FIELDS.items()}
    return {name: f"{nanos(plain(price, input_tokens)):f}" for name, price in given.items() if price is not None}


def nanos(price: Any) -> Any:
    """The price in at most nine decimals: OpenRouter has some with more, which are rounded up."""
    exact = Decimal(price)
    rounded = exact.quantize(_NANO, ROUND_CEILING)
    return price if exact == rounded else rounded


def other_names(model: ModelInfo) -> Iterator[str]:
    """Names that stand for exactly this model; patterns are left out, since a pattern may also fit tomorrow's dearer model."""
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    return (clause.equals for clause in clauses if isinstance(clause, ClauseEquals) and clause.equals != model.id)


def row(model: ModelInfo, day: datetime) -> dict[str, Any] | None:
    """The model's row in prices.json; None for one that is not paid by input and output tokens, or as an embedding by input."""
    prices = dearest(model, day)
    embeds = "embed" in model.id
    if prices.input_mtok is None or (prices.output_mtok is None and not embeds):
        return None
    found = (getattr(prices, attribute) for attribute in FIELDS.values())
    starts = sorted({tier.start for price in found if isinstance(price, TieredPrices) for tier in price.tiers})
    # vectors have no output tokens; written out, so that a price that is missing elsewhere is never taken for nothing
    made: dict[str, Any] = {**rates(prices, 0), **({"output": "0"} if prices.output_mtok is None else {})}
    made |= {"context_window": model.context_window} if model.context_window else {}
    made |= {"names": names} if (names := sorted(other_names(model))) else {}
    made |= {"tiers": [{"above": start, **rates(prices, start + 1)} for start in starts]} if starts else {}
    return made


def table(day: datetime) -> dict[str, dict[str, Any]]:
    """Prices of that day by provider and model."""
    copied: dict[str, dict[str, Any]] = {}
    for provider in sorted((provider for provider in providers if provider.id in COPIED), key=lambda provider: provider.id):
        rows = {model.id: row(model, day) for model in sorted(provider.models, key=lambda model: model.id)}
        copied[provider.id] = {name: made for name, made in rows.items() if made is not None}
    return copied


def render(day: datetime) -> str:
    """The file's text: one model a line, so that a refresh shows as a readable difference."""
    head = {
        "source": f"genai-prices {version('genai-prices')}, github.com/pydantic/genai-prices",
        "licence": "MIT, Copyright (c) Pydantic Services Inc. 2025 to present",
        "taken": day.date().isoformat(),
        "currency": "USD",
        "unit": "one million tokens",
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    blocks = []
    for provider_id, models in table(day).items():
        rows = ",\n".join(f"      {json.dumps(name)}: {json.dumps(made)}" for name, made in models.items())
        blocks.append(f"    {json.dumps(provider_id)}: {{\n{rows}\n    }}")
    return "\n".join(["{", *lines, '  "providers": {', ",\n".join(blocks), "  }", "}", ""])


if __name__ == "__main__":
    TARGET.write_text(render(datetime.now(UTC)))
    sys.stdout.write(f"{TARGET.name} written\n")
