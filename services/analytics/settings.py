"""Settings of the analytics service."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from mesh.settings import CHECKOUT, Section, SettingError, setting, usable
from services.analytics import badges
from services.analytics.badges import Rule
from services.analytics.health import Policy

_WORD = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class AnalyticsSettings(Section):
    """What can be chosen about counting, health and badges."""

    section: ClassVar[str] = "analytics"

    badges_file: Path = setting(Path("services/analytics/badges.toml"), "File of the badge rules (TOML); relative to the checkout.")
    fold_interval: timedelta = setting(
        timedelta(seconds=1), "How often what was heard is folded into time buckets. Queries see what waits, too."
    )
    fold_batch: int = setting(2000, "Events and values folded in one transaction.", low=1, high=100_000)
    minute_retention: timedelta = setting(timedelta(hours=48), "How long minutes are kept; after that only hours are.")
    hour_retention: timedelta = setting(timedelta(days=400), "How long hours, users' days and processes' changes are kept.")
    forget_interval: timedelta = setting(timedelta(minutes=10), "How often what is older than its retention is dropped.")
    max_series: int = setting(10_000, "Distinct sets of labels over all metrics; a value of one more is refused.", low=1)
    max_series_per_metric: int = setting(500, "Distinct sets of labels of one metric; a value of one more is refused.", low=1)
    max_metric_ahead: timedelta = setting(timedelta(minutes=5), "How far in the future the time of a logged value may lie.", low=0)
    max_points: int = setting(1500, "Steps that one query of a metric may have.", low=1, high=100_000)
    max_query_buckets: int = setting(20_000, "Buckets that one query may read.", low=1)
    max_overview_span: timedelta = setting(timedelta(days=31), "Longest span of an overview.")
    overview_latencies: int = setting(50, "Latencies that an overview shows at most.", low=1, high=1000)
    max_masteries: int = setting(1000, "Skills that a user's progress shows at most.", low=1, high=10_000)
    health_interval: timedelta = setting(timedelta(seconds=15), "How often each service's health is looked at.")
    health_window: timedelta = setting(timedelta(minutes=15), "Span of time that a service's health is judged by.")
    health_samples: int = setting(20, "Samples that a part of a health score needs before it counts.", low=1)
    health_known: timedelta = setting(timedelta(seconds=60), "Known time that the availability part needs before it counts.", low=0)
    health_latency_target: timedelta = setting(timedelta(seconds=2), "95th percentile of durations up to which latency scores 1.")
    health_delay_target: timedelta = setting(
        timedelta(seconds=1), "95th percentile of events' delay up to which freshness scores 1."
    )
    health_availability_weight: float = setting(0.4, "Weight of availability in a health score.", low=0.001, high=1000)
    health_errors_weight: float = setting(0.3, "Weight of errors in a health score.", low=0.001, high=1000)
    health_latency_weight: float = setting(0.2, "Weight of latency in a health score.", low=0.001, high=1000)
    health_freshness_weight: float = setting(0.1, "Weight of freshness in a health score.", low=0.001, high=1000)
    health_degraded_from: float = setting(0.6, "Score from which a service is degraded instead of unhealthy.", low=0.01, high=1)
    health_healthy_from: float = setting(0.9, "Score from which a service is healthy.", low=0.01, high=1)
    health_margin: float = setting(
        0.03, "How far past a threshold a score must go before health.changed is told (hysteresis).", low=0, high=0.5
    )
    failure_words: tuple[str, ...] = setting(
        ("failed", "dead", "missed"), "Last words of event types that mean that something failed."
    )
    success_words: tuple[str, ...] = setting(
        ("completed", "delivered", "fired", "synced", "indexed", "sent"), "Last words of event types that mean success."
    )

    def check(self) -> None:
        """SettingError for words that end no event type, badge rules and thresholds of health that cannot be used."""
        for name in ("failure_words", "success_words"):
            for word in getattr(self, name):
                if not _WORD.fullmatch(word):
                    raise SettingError(f"{self.env_name(name)} has {word!r}; write last words of event types, e.g. failed")
        self.rules()
        self.policy()

    def rules(self) -> list[Rule]:
        """The badge rules of the file."""
        with usable(self.env_name("badges_file"), self.badges_file):
            return badges.parse((CHECKOUT / self.badges_file).read_text(encoding="utf-8"))

    def policy(self) -> Policy:
        """How health is judged."""
        thresholds = ("health_degraded_from", "health_healthy_from", "health_margin")
        with usable(", ".join(map(self.env_name, thresholds))):
            return Policy(
                weights=(
                    self.health_availability_weight,
                    self.health_errors_weight,
                    self.health_latency_weight,
                    self.health_freshness_weight,
                ),
                samples_needed=self.health_samples,
                seconds_needed=int(self.health_known.total_seconds()),
                latency_target=self.health_latency_target.total_seconds(),
                delay_target=self.health_delay_target.total_seconds(),
                degraded_from=self.health_degraded_from,
                healthy_from=self.health_healthy_from,
                margin=self.health_margin,
            )
