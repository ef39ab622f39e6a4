"""Settings of the provider service."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mesh import vault
from mesh.settings import CHECKOUT, Section, SettingError, setting, usable
from services.provider import money
from services.provider.pricelist import PriceList, read_price, read_prices
from services.provider.pricing import Price
from services.provider.registry_tables import build_registry

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
        choices=("always", "never", "auto"),
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
    health_bucket: timedelta = setting(timedelta(seconds=30), "Granularity of the rolling health windows; at least 1s.", low=1)
    health_buckets: int = setting(10, "How many such buckets a health window holds.", low=2, high=60)
    health_memory: timedelta = setting(
        timedelta(hours=1), "How long after it ended a cooldown still makes the next one of its kind longer.", low=0
    )
    breaker_in_row: int = setting(5, "Failures in a row that open a model's breaker.", low=1, high=1000)
    breaker_ratio: float = setting(0.5, "Share of failed calls in the health window that opens it.", low=0.01, high=1)
    breaker_least_calls: int = setting(10, "Calls there must be in the window before that share counts.", low=1, high=100_000)
    breaker_open: timedelta = setting(
        timedelta(seconds=30), "How long it stays open the first time; doubled each time in a row.", low=0
    )
    breaker_longest_open: timedelta = setting(timedelta(minutes=10), "How long it stays open at most.", low=0)
    breaker_trials: int = setting(1, "Trial calls at a time while it is half-open.", low=1, high=100)
    breaker_lease: timedelta = setting(timedelta(minutes=2), "After how long a trial call that was not heard of again is given up.")
    cooldown_rate_limited: timedelta = setting(
        timedelta(seconds=5), "How long a key rests for a model after 429 without Retry-After; doubled each time in a row.", low=0
    )
    cooldown_quota: timedelta = setting(timedelta(hours=1), "How long a key rests after 402; doubled each time in a row.", low=0)
    cooldown_unauthenticated: timedelta = setting(
        timedelta(hours=1), "How long a key rests after 401 or 403; doubled likewise.", low=0
    )
    cooldown_not_found: timedelta = setting(
        timedelta(minutes=10), "How long a model rests after 404; doubled each time in a row.", low=0
    )
    cooldown_longest: timedelta = setting(timedelta(hours=6), "Longest cooldown that nobody asked for.", low=0)
    longest_retry_after: timedelta = setting(
        timedelta(hours=1), "Longest Retry-After that is honoured; a longer one is cut.", low=0
    )
    availability_sweep: timedelta = setting(timedelta(seconds=1), "How often the ends of cooldowns and open times are told.")
    retries_rate_limited: int = setting(1, "Waits for Retry-After of a target when nothing else is left to try.", low=0, high=10)
    retries_timeout: int = setting(0, "Further calls of the same target after a timeout.", low=0, high=10)
    retries_unreachable: int = setting(1, "Further calls of the same target when it cannot be reached.", low=0, high=10)
    retries_server_error: int = setting(1, "Further calls of the same target after 5xx.", low=0, high=10)
    retries_malformed: int = setting(1, "Further calls of the same target after a malformed answer.", low=0, high=10)
    retries_broken_stream: int = setting(
        0, "Further calls of the same target after a stream that broke before its first token.", low=0, high=10
    )
    retry_base: timedelta = setting(
        timedelta(milliseconds=250), "Backoff before a first retry: from 0 to this; then doubled.", low=0
    )
    retry_longest: timedelta = setting(timedelta(seconds=8), "Longest backoff.", low=0)
    retry_share: float = setting(0.2, "Retries of a process, as a share of its calls within `retry_window`.", low=0, high=10)
    retry_minimum: float = setting(1.0, "Retries a second that are always allowed.", low=0, high=10_000)
    retry_window: timedelta = setting(timedelta(seconds=10), "Window of the retry budget; at least 1s.", low=1)
    attempt_timeout: timedelta = setting(timedelta(minutes=10), "How long one call to a provider may take.")
    first_token_timeout: timedelta = setting(timedelta(minutes=1), "How long the first token of a stream may take.")
    whole_answer_timeout: timedelta = setting(
        timedelta(minutes=5),
        "How long nothing may come of an answer that is not streamed, of vectors, and of a model that is asked to think.",
    )
    least_attempt: timedelta = setting(timedelta(milliseconds=50), "With less time than this left no call is begun.", low=0)
    max_attempts: int = setting(8, "Calls to providers that one request may lead to.", low=1, high=100)
    max_targets: int = setting(4, "Different models that one request may try.", low=1, high=100)
    max_fallback_chains: int = setting(1000, "Fallback chains there may be.", low=1, high=100_000)
    max_budgets: int = setting(1000, "Budgets there may be.", low=1, high=100_000)
    max_labels: int = setting(8, "Labels that usage or a scope may have beside provider, model and user.", low=0, high=8)
    max_label_length: int = setting(128, "Longest value of such a label, in characters.", low=1, high=200)
    max_burst_policies: int = setting(200, "Burst policies there may be.", low=1, high=10_000)
    burst_max_wait: timedelta = setting(
        timedelta(seconds=30), "Longest time that a burst policy in mode QUEUE may let a call wait for its turn.", low=0
    )
    reservation_ttl: timedelta = setting(
        timedelta(minutes=10), "How long a reservation stands that gives no time of its own; then it expires."
    )
    reservation_longest: timedelta = setting(timedelta(hours=24), "Longest time that a reservation may ask for.")
    reservation_sweep: timedelta = setting(
        timedelta(seconds=1),
        "How often is looked for reservations whose time has run out, and for queries of processes that are gone.",
    )
    reservation_keep: timedelta = setting(
        timedelta(days=30), "How long an ended reservation is kept, so that late settlements find it.", low=0
    )
    reserve_worst_case: bool = setting(
        False,
        "Set aside the longest answer that a call allows, when it says how long that is, and not what was learned: answers longer"
        " than usual pass no budget, but few calls of a burst fit at the same time.",
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
    estimate_keep: timedelta = setting(
        timedelta(days=90), "How long what was learned of a user is kept without a call of theirs.", low=0
    )
    max_csv_rows: int = setting(50_000, "Rows that a report as CSV may have.", low=1, high=1_000_000)
    explained_selections: int = setting(1000, "Newest selections of which every candidate is kept; 0: none.", low=0, high=1_000_000)
    max_report_span: timedelta = setting(timedelta(days=1100), "Longest time that a report may cover.")
    default_budget: str = setting(
        "20",
        "Limit of the budget `default` (everything, a month, UTC, only told) that a new installation begins with; empty: none.",
    )
    query_timeout: timedelta = setting(
        timedelta(minutes=10), "Longest time for one query, retries and waiting included; a caller may ask for less."
    )
    settle_grace: timedelta = setting(
        timedelta(minutes=1), "How long after its deadline a query that was not settled is given up.", low=0
    )
    top_up_tokens: int = setting(256, "Output tokens that a stream sets aside at once when it needs more.", low=1, high=1_000_000)
    query_keep: timedelta = setting(
        timedelta(days=30), "How long queries are kept, and answers of queries with a request id.", low=0
    )
    large_requests_bytes: int = setting(
        256 * 1024 * 1024,
        "Bytes of requests over 1 MiB, as those with pictures are, that a process works on at a time; they take about five times as"
        " much memory. More are refused with RetryInfo.",
        low=1024 * 1024,
    )
    default_policy: str = setting("", "Policy that decides for requests that name none; empty: the weights of these settings.")
    max_policies: int = setting(1000, "Selection policies there may be.", low=1, high=100_000)
    max_aliases: int = setting(1000, "Aliases there may be.", low=1, high=100_000)
    session_time: timedelta = setting(timedelta(hours=1), "How long a session stays with its model after its last request.", low=0)
    prefix_time: timedelta = setting(
        timedelta(minutes=5), "How long a provider is taken to keep the beginning of a prompt in its cache.", low=0
    )
    learned_quality_weight: float = setting(
        0.7, "Share of quality against cost when the strategy LEARNED is asked for without `quality_weight`, 0..1.", low=0, high=1
    )
    learned_exploration: float = setting(
        0.3, "How far LEARNED strays from what it expects to learn more, in standard deviations; 0: not at all.", low=0, high=10
    )
    learned_outcomes: int = setting(5000, "Outcomes that learned selection remembers; the newest stay.", low=1, high=20_000)
    learned_half_life: timedelta = setting(
        timedelta(days=60), "After this time an outcome counts half as much; at least 1h.", low=3600
    )
    learned_rating_time: timedelta = setting(timedelta(days=14), "How long a selection's prompt can still be rated.", low=0)
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
    prefix_least_tokens: int = setting(
        1024, "Tokens of instructions and tools from which on a provider is taken to cache them.", low=1, high=10_000_000
    )

    def check(self) -> None:
        """SettingError for files, prices, a budget or keys that cannot be used."""
        with usable(self.env_name("registry_file"), self.registry_file):
            build_registry(self.table, self.prices)
        _ = self.default_price
        with usable(self.env_name("default_budget")):
            if self.default_budget and money.parse(self.default_budget) <= 0:
                raise ValueError(f"{self.default_budget!r} is no limit; write an amount above 0, or nothing for no budget")
        for key in (self.encryption_key, *self.encryption_old_keys):
            # without the value: it may be a key with a slip of the pen
            with usable(self.env_name("encryption_key" if key is self.encryption_key else "encryption_old_keys")):
                _ = key and vault.read_key(key)

    @cached_property
    def table(self) -> Mapping[str, Any]:
        """The registry file's table; read once."""
        with usable(self.env_name("registry_file"), self.registry_file):
            return tomllib.loads(self.registry_file.read_text())

    @cached_property
    def prices(self) -> PriceList:
        """The list prices, with what the operator puts over them; read once."""
        with usable(self.env_name("prices_file"), self.prices_file):
            prices = read_prices(json.loads(self.prices_file.read_text()))
        if not self.price_overrides_file.name:
            return prices
        with usable(self.env_name("price_overrides_file"), self.price_overrides_file):
            return prices.overridden(read_prices(tomllib.loads(self.price_overrides_file.read_text())))

    @cached_property
    def default_price(self) -> Price | None:
        """The price of a model that has none; None: such a model is refused."""
        given = {"input": self.default_input_price, "output": self.default_output_price}
        if not any(given.values()):
            return None
        names = [self.env_name(name) for name in ("default_input_price", "default_output_price")]
        if not all(given.values()):
            raise SettingError(f"set both {' and '.join(names)}, or neither")
        with usable(", ".join(names)):
            price = read_price("the default price", given)
            if price.free:
                raise ValueError("the default price must be above 0; to refuse what has no price, leave both empty")
            return price
