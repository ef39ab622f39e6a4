"""Settings of the provider service."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from mesh.settings import Section, setting

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ProviderSettings(Section):
    """What the operator may choose."""

    section: ClassVar[str] = "provider"

    registry_file: Path = setting(HERE / "providers.toml", "Registry of providers and models; read at start.")
    prices_file: Path = setting(HERE / "prices.json", "List prices, which the registry may override; read at start.")
    price_overrides_file: Path = setting(
        Path(),
        "TOML file of prices that win over the list, in its form (providers.<id>.<model> = { input, output, ... }); empty: none.",
    )
    default_input_price: str = setting(
        "", "Price assumed for a million input tokens of a model that has none, e.g. `5`; empty: such a model is refused."
    )
    default_output_price: str = setting("", "The same for a million output tokens; set both or neither.")
    encryption_key: str = setting(
        "",
        "Key that encrypts providers' keys: base64 of 32 bytes. Empty: a key file made at the first start.",
        secret=True,
    )
    encryption_old_keys: tuple[str, ...] = setting(
        (), "Keys that were used before; what they encrypted is encrypted anew at start.", secret=True
    )
    max_provider_keys: int = setting(100, "Keys that one provider may have.", low=1, high=10_000)
    max_registered: int = setting(5000, "Providers and models that may be registered or changed at run time.", low=1, high=100_000)
    call_connections: int = setting(256, "Connections to one provider at a time; more calls wait for one.", low=1, high=10_000)
    call_keep_alive: timedelta = setting(timedelta(seconds=30), "How long an idle connection to a provider is kept.")
    call_answer_bytes: int = setting(32 * 1024 * 1024, "Largest answer of a provider in bytes.", low=1024)
    require_key: str = setting(
        "auto",
        "Leave providers without a key out of selection: `always`, `never` (callers hold keys) or `auto` (once any has a key).",
    )
    weight_cost: float = setting(30.0, "Weight of cheapness in a balanced selection.", low=0, high=1000)
    weight_quality: float = setting(40.0, "Weight of quality in a balanced selection.", low=0, high=1000)
    weight_speed: float = setting(20.0, "Weight of speed in a balanced selection.", low=0, high=1000)
    weight_uptime: float = setting(
        10.0, "Weight of uptime in every selection; above 0, so that some weight is left.", low=0.001, high=1000
    )
    high_quality_weight_cost: float = setting(5.0, "Weight of cheapness when high quality is asked for.", low=0, high=1000)
    high_quality_weight_quality: float = setting(80.0, "Weight of quality when high quality is asked for.", low=0, high=1000)
    high_quality_weight_speed: float = setting(5.0, "Weight of speed when high quality is asked for.", low=0, high=1000)
    half_cost: float = setting(
        2.0, "Price, in currency units per million tokens, at which cheapness counts one half.", low=0.000001, high=1e6
    )
    half_speed: float = setting(100.0, "Output tokens a second at which speed counts one half.", low=0.001, high=1e6)
    default_output_tokens: int = setting(500, "Output tokens assumed when a request gives no estimate.", low=0, high=10_000_000)
    tight_from: int = setting(80, "Threshold in percent from which a budget makes selection thriftier.", low=1, high=1000)
    tight_factor: float = setting(
        2.0, "How many times more cost counts from `tight_from` on; squared from 100 percent on.", low=1, high=1000
    )
    quality_prior_weight: float = setting(10.0, "How many feedback scores the registry's quality counts as.", low=0.001, high=1e6)
    outcome_weight: float = setting(0.05, "What the newest outcome counts in uptime and speed, 0..1.", low=0.001, high=1)
    degraded_after: int = setting(3, "Failures in a row after which a provider is called degraded.", low=1, high=1000)
    look_interval: timedelta = setting(timedelta(seconds=30), "How often the addresses of local providers are looked at.")
    look_timeout: timedelta = setting(timedelta(seconds=1), "How long such a look waits for an answer.")
    max_budgets: int = setting(1000, "Budgets there may be.", low=1, high=100_000)
    max_report_span: timedelta = setting(timedelta(days=1100), "Longest time that a report may cover.")
    default_budget: str = setting(
        "20",
        "Limit of the budget `default` (everything, a month, UTC, only told) that a new installation begins with; empty: none.",
    )
