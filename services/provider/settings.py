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
    max_labels: int = setting(8, "Labels that usage or a scope may have beside provider, model and user.", low=0, high=8)
    max_label_length: int = setting(128, "Longest value of such a label, in characters.", low=1, high=200)
    max_burst_policies: int = setting(200, "Burst policies there may be.", low=1, high=10_000)
    burst_max_wait: timedelta = setting(
        timedelta(seconds=30), "Longest time that a burst policy in mode QUEUE may let a call wait for its turn."
    )
    reservation_ttl: timedelta = setting(
        timedelta(minutes=10), "How long a reservation stands that gives no time of its own; then it expires."
    )
    reservation_longest: timedelta = setting(timedelta(hours=24), "Longest time that a reservation may ask for.")
    reservation_sweep: timedelta = setting(timedelta(seconds=1), "How often reservations are looked for whose time has run out.")
    reservation_keep: timedelta = setting(
        timedelta(days=30), "How long an ended reservation is kept, so that late settlements find it."
    )
    estimate_quantile: float = setting(
        0.7, "Share of calls whose output tokens stay within what is reserved for them.", low=0.01, high=0.99
    )
    estimate_weight: float = setting(0.02, "What the newest call counts in learned output lengths, 0..1.", low=0.001, high=1)
    estimate_prior_calls: float = setting(
        10.0, "How many calls count as much as what is assumed without any: `default_output_tokens`.", low=0.001, high=1e6
    )
    estimate_step: float = setting(
        0.02, "How far one call moves the estimate towards its share, in standard deviations.", low=0.0, high=1
    )
    estimate_keep: timedelta = setting(timedelta(days=90), "How long what was learned of a user is kept without a call of theirs.")
    max_csv_rows: int = setting(50_000, "Rows that a report as CSV may have.", low=1, high=1_000_000)
    max_report_span: timedelta = setting(timedelta(days=1100), "Longest time that a report may cover.")
    default_budget: str = setting(
        "20",
        "Limit of the budget `default` (everything, a month, UTC, only told) that a new installation begins with; empty: none.",
    )
