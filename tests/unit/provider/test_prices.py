"""The copied price list against its source: what the service charges is what genai-prices computes for the day of the copy."""

import json
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price

from services.provider import money
from services.provider.flows import refresh_prices
from services.provider.pricelist import read_prices
from services.provider.registry import Model
from services.provider.registry_tables import build_registry

FOLDER = Path("services/provider")
LIST = json.loads((FOLDER / "prices.json").read_text())
TAKEN = datetime.fromisoformat(LIST["taken"]).replace(tzinfo=UTC)
SHIPPED = build_registry(tomllib.loads((FOLDER / "providers.toml").read_text()), read_prices(LIST))
INSTALLED = f"genai-prices {version('genai-prices')}"
# an upgrade of the package brings newer prices; the copy is renewed by a command and a review, not by a failing test
pytestmark = pytest.mark.skipif(
    not LIST["source"].startswith(f"{INSTALLED},"), reason=f"prices.json was not copied from {INSTALLED}: run refresh_prices"
)
PAID = [model for model in SHIPPED.models if model.price is not None and not model.price.free]


def dearest_of_the_day(model: Model, usage: Usage) -> Decimal:
    """What genai-prices asks for the usage at the dearest hour of the day of the copy, in currency units."""
    hours = (TAKEN.replace(hour=hour) for hour in range(24))
    return max(
        calc_price(usage, model.name, provider_id=model.provider_id, genai_request_timestamp=hour).total_price for hour in hours
    )


@pytest.mark.parametrize("model", PAID, ids=lambda model: f"{model.provider_id}/{model.name}")
@pytest.mark.parametrize(("given_in", "cached", "given_out"), [(1_000, 0, 500), (90_000, 40_000, 7), (600_000, 1, 123_456)])
def test_every_offered_model_costs_what_its_source_says(model: Model, given_in: int, cached: int, given_out: int) -> None:
    """Short, cached and long inputs (the dearer tiers), for every model that is offered and not free."""
    assert model.price is not None
    expected = dearest_of_the_day(model, Usage(input_tokens=given_in, cache_read_tokens=cached, output_tokens=given_out))
    charged = model.price.cost(given_in, given_out, cached)
    assert 0 <= charged - expected * money.NANOS < 1


def test_what_is_written_to_a_cache_costs_what_its_source_says() -> None:
    """Dearer than other input at Anthropic; charged once, beside what was read."""
    written = [model for model in PAID if model.price is not None and model.price.base.cache_write is not None]
    assert {"anthropic"} <= {model.provider_id for model in written}
    for model in written:
        expected = dearest_of_the_day(
            model, Usage(input_tokens=9_000, cache_read_tokens=4_000, cache_write_tokens=3_000, output_tokens=5)
        )
        assert model.price is not None
        assert 0 <= model.price.cost(9_000, 5, 4_000, 3_000) - expected * money.NANOS < 1, model.key


def test_sound_costs_what_its_source_says() -> None:
    """Several times what words cost at Google; charged once, beside what was read from the cache."""
    heard = [model for model in PAID if model.price is not None and model.price.base.cached_audio is not None]
    assert "gemini-2.5-flash" in {model.name for model in heard}
    for model in heard:
        expected = dearest_of_the_day(
            model,
            Usage(
                input_tokens=9_000,
                input_audio_tokens=5_000,
                cache_read_tokens=4_000,
                cache_audio_read_tokens=1_000,
                output_tokens=5,
            ),
        )
        assert model.price is not None
        charged = model.price.cost(9_000, 5, 4_000, audio_tokens=5_000, cached_audio_tokens=1_000)
        assert 0 <= charged - expected * money.NANOS < 1, model.key


def test_the_copy_is_what_the_refresh_writes() -> None:
    """Nobody edited prices.json by hand: corrections belong in providers.toml, where a refresh does not lose them."""
    assert json.loads(refresh_prices.render(TAKEN)) == LIST
