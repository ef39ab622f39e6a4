"""Settings of the provider service."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from mesh.settings import CHECKOUT, Section, setting

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ProviderSettings(Section):
    """What the operator may choose."""

    section: ClassVar[str] = "provider"

    registry_file: Path = setting(HERE / "providers.toml", "Registry of providers and models; read at start.")
    prices_file: Path = setting(HERE / "prices.json", "List prices, which the registry may override; read at start.")
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
    default_policy: str = setting("", "Policy that decides for requests that name none; empty: the weights of these settings.")
    max_policies: int = setting(1000, "Selection policies there may be.", low=1, high=100_000)
    max_aliases: int = setting(1000, "Aliases there may be.", low=1, high=100_000)
    session_time: timedelta = setting(timedelta(hours=1), "How long a session stays with its model after its last request.")
    prefix_time: timedelta = setting(
        timedelta(minutes=5), "How long a provider is taken to keep the beginning of a prompt in its cache."
    )
    learned_quality_weight: float = setting(
        0.7, "Share of quality against cost when the strategy LEARNED is asked for without `quality_weight`, 0..1.", low=0, high=1
    )
    learned_exploration: float = setting(
        0.3, "How far LEARNED strays from what it expects to learn more, in standard deviations; 0: not at all.", low=0, high=10
    )
    learned_outcomes: int = setting(5000, "Outcomes that learned selection remembers; the newest stay.", low=1, high=20_000)
    learned_half_life: timedelta = setting(timedelta(days=60), "After this time an outcome counts half as much; at least 1h.")
    learned_rating_time: timedelta = setting(timedelta(days=14), "How long a selection's prompt can still be rated.")
    learned_failure_weight: float = setting(
        0.2, "What an answer that was malformed, cut off or refused counts, a rating counting 1.", low=0, high=1
    )
    learned_refresh: timedelta = setting(
        timedelta(seconds=5), "How often it is looked whether there are new outcomes to learn from."
    )
    embedding_folder: Path = setting(
        CHECKOUT / "build" / "models" / "minilm", "Where `make models` puts the embedding model; without it words are hashed."
    )
    embedding_tokens: int = setting(256, "Tokens of a prompt that the embedding reads.", low=8, high=512)
    embedding_cache: int = setting(1000, "Embeddings of the last prompts that are remembered.", low=1, high=100_000)
